import { afterEach, expect, test, vi } from 'vitest'

import { Sessions } from '../src/sessions.js'
import { MemoryStorage, SafeStorage } from '../src/storage.js'
import type { DurableStorage } from '../src/storage.js'
import { toUUID } from '../src/uuid.js'

const PROXY = 'http://localhost:4000'

afterEach(() => vi.useRealTimers())

test('an active generation is remembered, moves on, and is forgotten', () => {
  const sessions = new Sessions(new MemoryStorage(), PROXY)
  expect(sessions.active('chat')).toBeUndefined()
  sessions.begin('chat', 'r1')
  sessions.advance('chat', 'r1', 7)
  expect(sessions.active('chat')).toMatchObject({ requestId: 'r1', offset: 7 })
  expect(sessions.active(toUUID('chat'))).toMatchObject({ requestId: 'r1' })
  sessions.begin('chat', 'r2') // another tab
  sessions.advance('chat', 'r1', 9)
  sessions.finish('chat', 'r1')
  expect(sessions.active('chat')).toMatchObject({ requestId: 'r2', offset: 0 })
  sessions.finish('chat', 'r2')
  expect(sessions.active('chat')).toBeUndefined()
})

test('entries are of one proxy, and get old', () => {
  vi.useFakeTimers()
  const storage = new MemoryStorage()
  const sessions = new Sessions(storage, PROXY)
  sessions.begin('chat', 'r1', 1000)
  sessions.saveMessages('chat', ['hello'])
  expect(new Sessions(storage, 'http://other').active('chat')).toBeUndefined()
  vi.advanceTimersByTime(1001)
  expect(sessions.active('chat')).toBeUndefined()
  expect(sessions.active('chat', 2000)).toBeDefined()
  expect(sessions.messages('chat')).toEqual(['hello'])
  expect(sessions.messages('chat', 1000)).toBeUndefined()
})

test('a clock that was set back makes entries of the future absent', () => {
  vi.useFakeTimers({ now: Date.parse('2030-01-01') })
  const sessions = new Sessions(new MemoryStorage(), PROXY)
  sessions.begin('chat', 'r1')
  sessions.saveMessages('chat', ['hello'])
  vi.setSystemTime(Date.parse('2029-12-31T23:59:30'))
  expect(sessions.active('chat')).toBeDefined() // clocks differ a little
  vi.setSystemTime(Date.parse('2029-06-01'))
  expect(sessions.active('chat')).toBeUndefined()
  expect(sessions.messages('chat')).toBeUndefined()
  sessions.begin('chat', 'r2')
  expect(sessions.active('chat')).toMatchObject({ requestId: 'r2' })
})

test.each(['', 'null', '[]', '{', '7', '"x"', '{"version":1}', '{"version":2,"requestId":"r"}'])(
  'an entry that is %j counts as absent',
  (text) => {
    const storage = new MemoryStorage()
    const sessions = new Sessions(storage, PROXY)
    for (const kind of ['active', 'messages'] as const) storage.setItem(sessions.key(kind, 'chat'), text)
    expect(sessions.active('chat')).toBeUndefined()
    expect(sessions.messages('chat')).toBeUndefined()
    expect(sessions.isDamaged('chat')).toBe(true)
    expect(sessions.isDamaged('another')).toBe(false)
    sessions.finish('chat')
    sessions.advance('chat', 'r1', 1)
    sessions.begin('chat', 'r1')
    expect(sessions.active('chat')).toBeDefined()
  },
)

test.each(['requestId', 'offset', 'ttl', 'updatedAt', 'key'])('so does one whose %s is odd', (field) => {
  const storage = new MemoryStorage()
  const sessions = new Sessions(storage, PROXY)
  sessions.begin('chat', 'r1')
  const key = sessions.key('active', 'chat')
  const entry = JSON.parse(storage.getItem(key) ?? '') as Record<string, unknown>
  storage.setItem(key, JSON.stringify({ ...entry, [field]: field === 'requestId' ? 7 : '7' }))
  expect(sessions.active('chat')).toBeUndefined()
})

const disabled = () => {
  throw new DOMException('disabled', 'SecurityError')
}
test.each<[string, DurableStorage | undefined]>([
  ['absent', undefined],
  ['disabled', { getItem: disabled, setItem: disabled, removeItem: disabled }],
  ['full', { getItem: () => null, setItem: disabled, removeItem: () => {} }],
])('a storage that is %s is memory', (_, storage) => {
  const safe = new SafeStorage(storage)
  expect(safe.getItem('a')).toBeNull()
  safe.setItem('a', '1')
  expect(safe.getItem('a')).toBe('1')
  safe.removeItem('a')
  expect(safe.getItem('a')).toBeNull()
})

test('what a full storage holds is not shown in place of what it did not take', () => {
  const storage = new MemoryStorage()
  storage.setItem('a', 'old')
  vi.spyOn(storage, 'setItem').mockImplementation(disabled)
  const safe = new SafeStorage(storage)
  safe.setItem('a', 'new')
  expect(safe.getItem('a')).toBe('new')
})
