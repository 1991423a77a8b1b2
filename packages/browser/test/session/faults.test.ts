import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest'
import { DurableChatSession, SessionError } from '../../src/session/index.js'
import { Relay, SessionService, UNIT, until } from '../servers.js'
import { AgentServer, MemoryStorage, Service, sessionOf, shows, texts } from './harness.js'

const service = new Service(inject('sessionsUrl'))
let agents: AgentServer
const opened: DurableChatSession[] = []
const relays: Relay[] = []

function open(...given: Parameters<typeof sessionOf>): DurableChatSession {
  const session = sessionOf(...given)
  opened.push(session)
  return session
}

async function relay(): Promise<Relay> {
  const made = await new Relay(() => service.url).start()
  relays.push(made)
  return made
}

async function answering(listener: RequestListener): Promise<{ url: string; end: () => void }> {
  const server = createServer(listener)
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { url, end: () => (server.closeAllConnections(), server.close()) }
}

beforeAll(async () => {
  agents = await new AgentServer().start()
})
afterEach(async () => {
  for (const session of opened.splice(0)) session.disconnect()
  for (const one of relays.splice(0)) one[Symbol.dispose]()
})
afterAll(async () => {
  await agents.end()
})

describe('a network', () => {
  test('that is cut in mid-answer and mended: the text is whole, the agent is called once', async () => {
    const wire = await relay()
    const session = open(wire.url, 'cut')
    await session.connect()
    await session.registerAgents([{ id: 'bot', endpoint: agents.endpoint }])
    const calls = agents.calls.length
    await session.sendMessage('go')
    const call = await agents.called(calls + 1)
    call.say('one ')
    await shows(session, (now) => texts(now)[1] === 'one ')
    const first = session.getSnapshot().messages[0]
    wire.takeDown()
    call.say('two ')
    const lost = await shows(session, (now) => now.connectionStatus === 'connecting')
    expect(lost.error?.kind).toBe('unreachable')
    expect(texts(lost)).toEqual(['go', 'one '])
    wire.mend()
    call.say('three')
    call.done()
    const whole = await shows(session, (now) => !now.isLoading && texts(now)[1] === 'one two three')
    expect(whole).toMatchObject({ connectionStatus: 'connected', error: undefined })
    expect(whole.messages[0]).toBe(first)
    expect(agents.calls.length).toBe(calls + 1)
  })

  test('that is gone: what is typed is shown, survives a refresh, and is sent once when it is back', async () => {
    const wire = await relay()
    const storage = new MemoryStorage()
    const before = open(wire.url, 'offline', { storage })
    await before.connect()
    wire.takeDown()
    await shows(before, (now) => now.connectionStatus === 'connecting')
    void before.sendMessage('first')
    void before.sendMessage('second')
    expect(texts(before.getSnapshot())).toEqual(['first', 'second'])
    before.disconnect()
    const after = open(wire.url, 'offline', { storage })
    after.connect().catch(() => undefined)
    const restored = await shows(after, (now) => now.messages.length === 2)
    expect(restored.messages.map((one) => one.pending)).toEqual([true, true])
    wire.mend()
    const sent = await shows(after, (now) => now.connectionStatus === 'connected' && now.pending.length === 0)
    expect(texts(sent)).toEqual(['first', 'second'])
    expect(sent.messages.some((one) => one.pending)).toBe(false)
    await until(() => storage.length === 0, 'an empty storage')
  })

  test('that swallows everything without a word is noticed', async () => {
    const wire = await relay()
    const session = open(wire.url, 'dead', { timing: { backoff: 20, backoffLimit: 100, silence: UNIT, notify: 0 } })
    const other = open(service.url, 'dead', { actor: { id: 'bob' } })
    await session.connect()
    await other.connect()
    wire.silent = true
    await other.sendMessage('are you there?')
    await shows(session, (now) => now.connectionStatus === 'connecting')
    expect(session.getSnapshot().error?.message).toContain('silent')
    wire.mend()
    await shows(session, (now) => texts(now)[0] === 'are you there?' && now.connectionStatus === 'connected')
  })
})

test('a service that is killed in mid-answer: a plain error at the message, and a retry that works', async () => {
  const mortal = await new SessionService().start()
  try {
    const session = open(mortal.url, 'killed')
    const errors: SessionError[] = []
    session.on('error', (error) => errors.push(error))
    await session.connect()
    await session.registerAgents([{ id: 'bot', endpoint: agents.endpoint }])
    const calls = agents.calls.length
    await session.sendMessage('go')
    const call = await agents.called(calls + 1)
    call.say('half an ans')
    await shows(session, (now) => texts(now)[1] === 'half an ans')
    const first = session.getSnapshot().messages[0]
    await mortal.kill()
    await shows(session, (now) => now.connectionStatus === 'connecting')
    const typed = session.sendMessage('are you there?')
    expect(texts(session.getSnapshot()).at(-1)).toBe('are you there?')
    agents.answer((next) => (next.say('whole'), next.done()))
    await mortal.start()
    await typed
    const orphaned = await shows(session, (now) => now.messages[1]?.error !== undefined && !now.isLoading && now.pending.length === 0)
    expect(orphaned.messages[1]).toMatchObject({ interrupted: true, error: { code: 'orphaned' } })
    expect(texts(orphaned)).toEqual(['go', 'half an ans', 'are you there?', 'whole'])
    expect(orphaned.messages[0]).toBe(first)
    await session.reload()
    await shows(session, (now) => !now.isLoading && texts(now).join() === 'go,half an ans,are you there?,whole')
    expect(errors).toEqual([])
  } finally {
    agents.answer(() => undefined)
    await mortal[Symbol.asyncDispose]()
  }
})

describe('at load', () => {
  test('the service is down: the page says so, tries on, and what is typed is sent', async () => {
    const wire = await relay()
    wire.takeDown()
    const session = open(wire.url, 'down')
    await expect(session.connect()).rejects.toMatchObject({ kind: 'unreachable' })
    expect(session.getSnapshot()).toMatchObject({ connectionStatus: 'connecting', isReady: false, isLoading: false })
    expect(session.getSnapshot().error?.message).toMatch(/^The session service cannot be reached/)
    const typed = session.sendMessage('hello?')
    wire.mend()
    await session.retry()
    expect(await typed).toBe(session.getSnapshot().messages[0]?.id)
  })

  test('a stale id: the page says so, keeps what is typed, and can make the session', async () => {
    const session = open(service.url, 'stale', { create: false })
    await expect(session.connect()).rejects.toMatchObject({ kind: 'not_found', status: 404, code: 'session_not_found' })
    expect(session.getSnapshot()).toMatchObject({ connectionStatus: 'error', isLoading: false })
    const typed = session.sendMessage('kept')
    await expect(session.retry()).rejects.toMatchObject({ kind: 'not_found' })
    await session.retry({ create: true })
    await typed
    const now = await shows(session, (one) => one.pending.length === 0)
    expect(texts(now)).toEqual(['kept'])
    expect(now).toMatchObject({ connectionStatus: 'connected', error: undefined })
  })

  test('a session that somebody deletes while it is shown', async () => {
    const session = open(service.url, 'deleted')
    await session.connect()
    await session.sendMessage('hi')
    await shows(session, (now) => now.messages.length === 1)
    await service.call('DELETE', 'deleted')
    const gone = await shows(session, (now) => now.connectionStatus === 'error')
    expect(['gone', 'not_found']).toContain(gone.error?.kind)
    expect(texts(gone)).toEqual(['hi'])
    await session.retry({ create: true })
    await shows(session, (now) => now.connectionStatus === 'connected' && now.messages.length === 0)
  })

  test.each([
    ['a web page', 200, 'text/html', '<!doctype html><title>App</title>', 'protocol'],
    ['a gateway that is lost', 502, 'text/html', '<h1>Bad Gateway</h1>', 'unreachable'],
    ['nothing of the kind', 404, 'text/plain', 'no route', 'not_found'],
    ['half an answer', 200, 'application/json', '{"sessionId":', 'protocol'],
  ])('%s answers', async (_, status, type, body, kind) => {
    const other = await answering((__, response) => response.writeHead(status, { 'content-type': type }).end(body))
    try {
      const session = open(other.url, 'foreign')
      await expect(session.connect()).rejects.toMatchObject({ kind })
      const { error, connectionStatus } = session.getSnapshot()
      expect(connectionStatus).toBe(kind === 'unreachable' ? 'connecting' : 'error')
      expect(error?.message).not.toContain('<')
    } finally {
      other.end()
    }
  })

  test('a stream of something else answers', async () => {
    const other = await answering((request, response) => {
      if (request.method === 'PUT') response.writeHead(200).end()
      else response.writeHead(200, { 'content-type': 'text/event-stream' }).end('event: data\ndata: {"a\n\n')
    })
    try {
      const session = open(other.url, 'foreign')
      await expect(session.connect()).rejects.toMatchObject({ kind: 'protocol' })
    } finally {
      other.end()
    }
  })

  test.each([
    ['', '/x'],
    ['..', '/x'],
    ['s', 'ftp://x'],
    ['s', 'localhost:4001'],
  ])('%j at %j cannot be a session', (sessionId, url) => {
    expect(() => new DurableChatSession({ sessionId, url })).toThrow(SessionError)
  })
})

test('a token that is too old is asked for again, and one that is wrong is said to be', async () => {
  const secret = 'a-secret-of-the-service'
  const guarded = await new SessionService().start({ SESSIONS_SECRET: secret })
  try {
    let asked = 0
    const session = open(guarded.url, 'guarded', { token: () => (asked++ === 0 ? 'too old' : secret) })
    await session.connect()
    expect(asked).toBeGreaterThan(1)
    const stranger = open(guarded.url, 'guarded', { headers: { Authorization: 'Bearer nonsense' } })
    await expect(stranger.connect()).rejects.toMatchObject({ kind: 'forbidden', status: 401 })
    const typed = stranger.sendMessage('kept')
    stranger.update({ headers: {}, token: secret })
    await stranger.retry()
    await typed
  } finally {
    await guarded[Symbol.asyncDispose]()
  }
})

test('what the service refuses is taken back, and not lost', async () => {
  const session = open(service.url, 'refused')
  const errors: SessionError[] = []
  session.on('error', (error) => errors.push(error))
  await service.call('PUT', 'refused', { runPolicy: 'reject' })
  await session.connect()
  await session.registerAgents([{ id: 'bot', endpoint: agents.endpoint }])
  const calls = agents.calls.length
  await session.sendMessage('go')
  const call = await agents.called(calls + 1)
  const sending = session.sendMessage('too soon', { messageId: 'soon' })
  expect(session.getSnapshot().messages.length).toBe(2)
  await expect(sending).rejects.toMatchObject({ kind: 'conflict', code: 'run_active' })
  const now = session.getSnapshot()
  expect(texts(now)).toEqual(['go'])
  expect(now.refused).toMatchObject([{ write: { id: 'soon', content: 'too soon' } }])
  expect(now.error?.code).toBe('run_active')
  expect(errors.map((error) => error.code)).toEqual(['run_active'])
  call.say('done')
  call.done()
  await shows(session, (one) => !one.isLoading)
  session.resend('soon')
  const again = await agents.called(calls + 2)
  again.done()
  await shows(session, (one) => one.refused.length === 0 && texts(one)[2] === 'too soon' && one.error === undefined)
  expect(errors.length).toBe(1)
})
