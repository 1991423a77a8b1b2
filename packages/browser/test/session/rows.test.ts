import { describe, expect, test } from 'vitest'
import { OutOfStepError, Rows, shared, type ViewRecord } from '../../src/session/rows.js'
import type { ChatMessage, MessagePart } from '../../src/session/index.js'

function message(id: string, createdAt: string, ...parts: MessagePart[]): ViewRecord {
  const value: ChatMessage = { id, role: 'assistant', parts, actorId: 'bot', isComplete: false, createdAt }
  return { type: 'message', key: id, value, headers: { operation: 'upsert' } }
}
const text = (content: string): MessagePart => ({ type: 'text', content })
const grown = (messageId: string, part: number, at: number, more: string): ViewRecord => ({
  type: 'message_delta',
  key: `${messageId}:${part}:${at}`,
  value: { messageId, part, field: 'content', at, text: more },
  headers: { operation: 'upsert' },
})
const RESET: ViewRecord = { headers: { control: 'reset' } }
const contentOf = (rows: Rows, id: string): unknown => (rows.of('message').get(id)?.parts[0] as { content: string }).content

describe('text that grows', () => {
  test('is counted in code points, as the service counts', () => {
    const rows = new Rows()
    rows.apply([message('m', '2026-01-01T00:00:00Z', text('👩‍🚀'))])
    rows.apply([grown('m', 0, 3, ' é🙂')])
    rows.apply([grown('m', 0, 6, '!')])
    expect(contentOf(rows, 'm')).toBe('👩‍🚀 é🙂!')
  })

  test('replaces what is here after its place, however often it comes', () => {
    const rows = new Rows()
    rows.apply([message('m', '2026-01-01T00:00:00Z', text('a🙂'))])
    for (let again = 0; again < 2; again++) rows.apply([grown('m', 0, 2, 'bc'), grown('m', 0, 4, 'd')])
    expect(contentOf(rows, 'm')).toBe('a🙂bcd')
  })

  test('touches its part and its message, and nothing else', () => {
    const rows = new Rows()
    rows.apply([message('m', '2026-01-01T00:00:00Z', text('a'), text('b')), message('n', '2026-01-01T00:00:01Z', text('c'))])
    const [m, n] = rows.timeline()
    rows.apply([grown('m', 1, 1, 'b')])
    const [grownM, sameN] = rows.timeline()
    expect(sameN).toBe(n)
    expect(grownM).not.toBe(m)
    expect(grownM?.parts[0]).toBe(m?.parts[0])
    expect(m?.parts[1]).toEqual(text('b'))
    expect([...rows.takeChanged()]).toEqual(['message'])
  })

  test('that does not fit is noticed', () => {
    const rows = new Rows()
    expect(() => rows.apply([grown('m', 0, 0, 'x')])).toThrow(OutOfStepError)
    rows.apply([message('m', '2026-01-01T00:00:00Z', text('a'))])
    expect(() => rows.apply([grown('m', 0, 2, 'x')])).toThrow(OutOfStepError)
    expect(() => rows.apply([grown('m', 1, 0, 'x')])).toThrow(OutOfStepError)
  })

  test('costs the new text, and not the old one', () => {
    const rows = new Rows()
    rows.apply([message('m', '2026-01-01T00:00:00Z', text(''))])
    const word = 'word '
    for (let n = 0; n < 20_000; n++) rows.apply([grown('m', 0, n * word.length, word)])
    expect(contentOf(rows, 'm')).toBe(word.repeat(20_000))
  })
})

describe('everything again', () => {
  const all = [
    message('m', '2026-01-01T00:00:00Z', text('a'), { type: 'tool-call', id: 'c', name: 'f', arguments: '{}', state: 'input-complete' }),
    message('n', '2026-01-01T00:00:01Z', text('b')),
  ]
  const copy = (): ViewRecord[] => JSON.parse(JSON.stringify(all)) as ViewRecord[]

  test.each([
    ['after a reset', [RESET, ...copy()], false],
    ['from the beginning', copy(), true],
  ])('%s keeps what is the same', (_, records, fresh) => {
    const rows = new Rows()
    rows.apply(all)
    const before = rows.timeline()
    rows.apply(records, fresh)
    expect(rows.timeline().every((one, index) => one === before[index])).toBe(true)
  })

  test('drops what is gone, and keeps the parts of what has changed', () => {
    const rows = new Rows()
    rows.apply(all)
    const before = rows.of('message').get('m')
    const [first] = copy()
    ;(first?.value as { isComplete: boolean }).isComplete = true
    rows.apply([RESET, first as ViewRecord])
    expect([...rows.of('message').keys()]).toEqual(['m'])
    const after = rows.of('message').get('m')
    expect(after).not.toBe(before)
    expect(after?.isComplete).toBe(true)
    expect(after?.parts).toBe(before?.parts)
  })

  test('any number of times changes nothing', () => {
    const rows = new Rows()
    rows.apply(all)
    rows.takeChanged()
    rows.apply(copy())
    rows.apply(copy())
    expect(rows.takeChanged().size).toBe(0)
  })
})

test('messages are in order of time, then of id', () => {
  const rows = new Rows()
  const at = (id: string, time: string): ViewRecord => message(id, `2026-01-01T00:00:${time}Z`)
  rows.apply([at('d', '02.000'), at('b', '01.500'), at('c', '01.500'), at('a', '01.000')])
  expect(rows.timeline().map((one) => one.id)).toEqual(['a', 'b', 'c', 'd'])
  rows.apply([{ type: 'message', key: 'b', headers: { operation: 'delete' } }, at('e', '00.001')])
  expect(rows.timeline().map((one) => one.id)).toEqual(['e', 'a', 'c', 'd'])
})

test('rows of types that nobody knows are left aside', () => {
  const rows = new Rows()
  rows.apply([{ type: 'constructor', key: 'x', value: 1, headers: { operation: 'upsert' } }])
  rows.apply([{ type: 'new-one', key: 'x', value: 1, headers: { operation: 'upsert' } }])
  expect(rows.takeChanged().size).toBe(0)
})

test('what is the same is shared', () => {
  const before = { a: [1, { b: 2 }], c: { d: null }, e: 'x' }
  const now = { a: [1, { b: 2 }], c: { d: 0 }, e: 'x' }
  const made = shared(before, now)
  expect(made).toEqual(now)
  expect(made.a).toBe(before.a)
  expect(shared(before, JSON.parse(JSON.stringify(before)))).toBe(before)
  expect(shared({ a: undefined }, { b: undefined })).toEqual({ b: undefined })
  expect(shared([1], { 0: 1 })).toEqual({ 0: 1 })
})
