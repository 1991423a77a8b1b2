import { describe, expect, test } from 'vitest'
import { SessionError } from '../../src/session/index.js'
import { Outbox, type MessageWrite, type OutboxOptions, type Write } from '../../src/session/outbox.js'
import { until } from '../servers.js'
import { MemoryStorage } from './harness.js'

const written = (id: string, content = id): MessageWrite => ({
  kind: 'message',
  id,
  content,
  role: 'user',
  createdAt: `2026-01-01T00:00:0${id.length}Z`,
})

class Sender {
  readonly sent: string[] = []
  failure: SessionError | undefined

  send = async (write: Write): Promise<void> => {
    await Promise.resolve()
    if (this.failure) throw this.failure
    this.sent.push(write.id)
  }
}

function outbox(sender: Sender, storage: OutboxOptions['storage'], more: Partial<OutboxOptions> = {}): Outbox {
  const rest = { isLogged: () => false, onChange: () => undefined, onRefused: () => undefined, prefix: 'p:', backoff: () => 1 }
  return new Outbox({ send: sender.send, storage, ...rest, ...more })
}

describe('a page that is left', () => {
  test('and what it had not sent is sent by the next one, in order', async () => {
    const storage = new MemoryStorage()
    const before = outbox(new Sender(), storage)
    void before.add(written('aa')).catch(() => undefined)
    void before.add(written('a')).catch(() => undefined)
    const sender = new Sender()
    const next = outbox(sender, storage)
    next.restore()
    expect(next.pending.map((one) => one.id)).toEqual(['a', 'aa'])
    next.open()
    await until(() => sender.sent.length === 2, 'both')
    expect(sender.sent).toEqual(['a', 'aa'])
    expect(storage.length).toBe(0)
  })

  test('what was refused is kept for whoever wrote it, and not sent by itself', async () => {
    const storage = new MemoryStorage()
    const sender = new Sender()
    sender.failure = new SessionError('conflict', 'busy', { status: 409, code: 'run_active' })
    const before = outbox(sender, storage)
    before.open()
    await expect(before.add(written('a', 'a long letter'))).rejects.toBe(sender.failure)
    const next = outbox(new Sender(), storage)
    next.restore()
    next.open()
    expect(next.pending).toEqual([])
    expect(next.refused).toMatchObject([{ write: { content: 'a long letter' }, error: { code: 'run_active', status: 409 } }])
    expect(next.refused[0]?.error.message).toBe(sender.failure.message)
    next.resend('a')
    await until(() => next.pending.length === 1 && storage.length === 0, 'sent')
    next.dismiss('a')
    expect(next.pending.length).toBe(1)
  })

  test('keys of agents are not kept', () => {
    const storage = new MemoryStorage()
    const agent = { id: 'bot', endpoint: 'http://x', headers: { Authorization: 'secret-1' } }
    void outbox(new Sender(), storage).add({ ...written('a'), agent })
    const kept = [...storage.entries.values()].join()
    expect(kept).toContain('"endpoint"')
    expect(kept).not.toContain('secret-1')
  })
})

describe('a storage', () => {
  test.each(['', '{', 'null', '[]', '{"write":{"id":"bad","kind":"message"}}', '{"write":{"id":"other","kind":"x"}}', '7'])(
    'that holds %j loses that, and nothing else',
    (text) => {
      const storage = new MemoryStorage()
      storage.setItem('p:bad', text)
      storage.setItem('theirs', text)
      storage.setItem('p:a', JSON.stringify({ write: written('a') }))
      const box = outbox(new Sender(), storage)
      box.restore()
      expect(box.pending.map((one) => one.id)).toEqual(['a'])
      expect([...storage.entries.keys()]).toEqual(['theirs', 'p:a'])
    },
  )

  test.each([
    ['is full', new MemoryStorage(0)],
    [
      'throws',
      new Proxy(new MemoryStorage(), {
        get: () => {
          throw new DOMException('denied', 'SecurityError')
        },
      }),
    ],
    ['is not there', null],
  ])('that %s costs nothing on this page', async (_, storage) => {
    const sender = new Sender()
    const box = outbox(sender, storage)
    box.restore()
    box.open()
    await box.add(written('a'))
    expect(sender.sent).toEqual(['a'])
  })
})

test('a service that comes back gets everything in order, once', async () => {
  const sender = new Sender()
  sender.failure = new SessionError('unreachable')
  let attempts = 0
  const box = outbox(sender, null, {
    backoff: (attempt) => {
      attempts = attempt
      return 1
    },
  })
  box.open()
  const all = ['a', 'bb', 'ccc'].map((id) => box.add(written(id)))
  await until(() => attempts > 3, 'some attempts')
  sender.failure = undefined
  await Promise.all(all)
  expect(sender.sent).toEqual(['a', 'bb', 'ccc'])
})

test('what the view shows is not pending, whether its answer comes before or after', async () => {
  const logged = new Set<string>()
  let answer!: () => void
  const sender = new Sender()
  const box = outbox(sender, null, {
    isLogged: (write) => logged.has(write.id),
    send: (write) => new Promise((done) => ((answer = done), sender.sent.push(write.id))),
  })
  box.open()
  const first = box.add(written('a'))
  const second = box.add(written('bb'))
  await until(() => sender.sent.length === 1, 'the first is sent')
  answer()
  await first
  expect(box.pending.map((one) => one.id)).toEqual(['a', 'bb'])
  logged.add('a')
  box.dropLogged()
  expect(box.pending.map((one) => one.id)).toEqual(['bb'])
  await until(() => sender.sent.length === 2, 'the second is sent')
  logged.add('bb')
  box.dropLogged()
  await second
  expect(box.pending).toEqual([])
  const third = box.add({ kind: 'approval', id: 'ccc', approvalId: 'x', approved: true, createdAt: '' })
  answer()
  await until(() => sender.sent.length === 3, 'the third is sent')
  logged.add('ccc') // by somebody else, it may be
  box.dropLogged()
  expect(box.pending.length).toBe(1)
  answer()
  await third
  expect(box.pending).toEqual([])
})

test('who waits while it is closed hears that the write is kept', async () => {
  const sender = new Sender()
  const box = outbox(sender, null)
  const adding = box.add(written('a'))
  box.close()
  await expect(adding).rejects.toMatchObject({ kind: 'closed' })
  box.open()
  await until(() => sender.sent.length === 1, 'sent after all')
})
