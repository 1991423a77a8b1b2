import { expect, test } from 'vitest'

import { Backoff } from '../src/backoff.js'
import { Merge, MergeError } from '../src/merge.js'
import { formatOffset, parseControl, parseOffset, parseRetryAfter } from '../src/protocol.js'
import { ResumePoints } from '../src/resume-points.js'

const encode = (text: string) => new TextEncoder().encode(text)

/** Where new parsers may start, the slow way: after two line ends in a row. */
function boundary(text: string, end: RegExp): number {
  let last = 0
  for (const found of text.matchAll(end)) last = found.index + found[0].length
  return last
}

const EVENT = /(\r\n|\n|\r(?!\n)){2,}/g
test.each([
  ['text/event-stream', EVENT, 'data: 1\n\ndata: 2\n\ndata: 3\n'],
  ['text/event-stream; charset=utf-8', EVENT, 'data: 1\r\n\r\nda'],
  ['text/event-stream', EVENT, 'data: 1\r\rdata: 2\r\n'],
  ['text/event-stream', EVENT, 'data: 1\n\r\ndata: 2'],
  ['text/event-stream', EVENT, ': hello'],
  ['application/x-ndjson', /\n/g, '{"a":1}\n{"b":2}\n{"c'],
  ['application/json', /$^/g, '{"a":1}'],
  ['application/problem+json', /$^/g, '{}'],
  ['text/plain', /[^]/g, 'any byte'],
])('%s is taken over where a parser can start, however it is cut', (type, end, text) => {
  for (let size = 1; size <= text.length; size += 1) {
    const points = new ResumePoints(type, 100)
    for (let start = 0; start < text.length; start += size) {
      const safe = points.feed(encode(text.slice(start, start + size)))
      // The line feed of a CR LF may still come: what is safe may lag by that one byte.
      const known = boundary(text.slice(0, start + size), end)
      expect([100 + known, 100 + known - 1]).toContain(safe)
    }
    expect(points.safe).toBe(100 + boundary(text, end))
    expect(points.position).toBe(100 + text.length)
  }
})

const done = (at: number) => ({ event: 'done', dataOffset: formatOffset(at), payload: {} })
const failed = (at: number) => ({
  event: 'error',
  dataOffset: formatOffset(at),
  payload: { code: 'aborted', message: 'enough' },
})

test('a body ends when all of it is there and its end has been told, in whatever order', () => {
  for (const order of ['data first', 'end first']) {
    const merge = new Merge()
    if (order === 'end first') merge.control(done(5))
    expect(merge.data(0, encode('hel'))).toHaveLength(3)
    expect(merge.verdict).toBeUndefined()
    expect(merge.data(1, encode('ello'))).toEqual(encode('lo')) // an overlap
    if (order === 'data first') merge.control(done(5))
    merge.control(done(5)) // a repetition
    merge.control({ event: 'heartbeat', dataOffset: '', payload: {} })
    expect(merge.verdict).toMatchObject({ code: undefined })
  }
})

test('what contradicts itself is an error', () => {
  const merge = new Merge(3)
  expect(() => merge.data(4, encode('x'))).toThrow(MergeError)
  expect(() => merge.control(done(2))).toThrow(MergeError)
  expect(() => merge.control({ ...done(0), dataOffset: '7' })).toThrow(MergeError)
  expect(() => merge.control({ event: 'start', dataOffset: '', payload: {} })).toThrow(MergeError)
  merge.control(failed(5))
  expect(() => merge.control(done(5))).toThrow(MergeError)
  expect(() => merge.data(3, encode('abc'))).toThrow(MergeError)
  merge.data(3, encode('ab'))
  expect(merge.verdict).toMatchObject({ code: 'aborted', message: 'enough' })
})

test('back-off doubles, is jittered, is bounded, and ends', () => {
  const backoff = new Backoff({ first: 100, limit: 1000, giveUpAfter: 5000, random: () => 0.5 })
  let now = 0
  const waits: number[] = []
  for (;;) {
    const wait = backoff.delay(now)
    if (wait === undefined) break
    waits.push(wait)
    now += wait
  }
  expect(waits.slice(0, 5)).toEqual([75, 150, 300, 600, 750])
  expect(now).toBe(5000)
  backoff.progress()
  expect(backoff.delay(now)).toBe(75)
  expect(backoff.delay(now, 2000)).toBe(2000)
  expect(backoff.delay(now, 60_000)).toBeUndefined()
})

test('offsets, control messages and Retry-After', () => {
  expect(parseOffset(formatOffset(42))).toBe(42)
  for (const odd of [null, '', '42', '-1', 'x'.repeat(20), '9'.repeat(20)]) {
    expect(parseOffset(odd)).toBeUndefined()
  }
  expect(parseControl('[{"event":"done"}]')).toEqual([done(0)])
  for (const odd of ['{}', '[1]', '[{}]', '<html>', '[null]']) expect(() => parseControl(odd)).toThrow()
  const now = Date.parse('2030-01-01T00:00:00Z')
  expect(parseRetryAfter('7', now)).toBe(7000)
  expect(parseRetryAfter('Tue, 01 Jan 2030 00:00:03 GMT', now)).toBe(3000)
  expect(parseRetryAfter('soon', now)).toBeUndefined()
  expect(parseRetryAfter(null, now)).toBeUndefined()
})
