import { expect, test } from 'vitest'

import { randomUUID, toUUID, wireId } from '../src/uuid.js'

// Made with Python's uuid.uuid5(uuid.UUID(int=0), text).
test.each([
  ["", 'e129f27c-5103-5c5c-844b-cdf0a15e160d'],
  ["chat-1", 'd502256b-065a-5731-ad8d-f94560a7ae44'],
  ["Grüße, 東京 🚀", 'de18f73f-c4c4-5b15-8eca-f4337936864d'],
  ['x'.repeat(55), '26731a95-b6a6-514a-96ae-435ec48fba7b'],
  ['x'.repeat(56), 'abcb89a7-769b-5328-b104-d4efad771b00'],
  ['x'.repeat(64), '40a219ca-3143-5564-92e9-07d0f42f6203'],
  ['y'.repeat(1000), 'e82e921b-1b5c-5e05-8eec-877a867c05bf'],
])('the UUID of %j is that of Python', (text, expected) => {
  expect(toUUID(text)).toBe(expected)
})

test('a namespace changes it, and has to be a UUID', () => {
  // uuid.uuid5(uuid.NAMESPACE_DNS, 'python.org')
  expect(toUUID('python.org', '6ba7b810-9dad-11d1-80b4-00c04fd430c8')).toBe(
    '886313e1-3b8a-5372-9b90-0c9aee199e5d',
  )
  expect(() => toUUID('a', 'b')).toThrow(TypeError)
})

test('a UUID stands for itself on the wire', () => {
  const id = randomUUID()
  expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  expect(wireId(id.toUpperCase())).toBe(id)
  expect(wireId('chat-1')).toBe(toUUID('chat-1'))
})
