import { expect, test } from 'vitest'
import { sseParser } from '../../src/session/sse.js'

const WHOLE = [
  'event: data\ndata:[1]\n\n',
  ':\n\n',
  'event:control\r\ndata: {"a":\r\ndata:  1}\r\n\r\n',
  'id: 7\rdata\rdata: x\u2028y\u0085z\r\r',
  'data: no end',
].join('')
const EVENTS = [
  { event: 'data', data: '[1]' },
  { event: 'control', data: '{"a":\n 1}' },
  { event: 'message', data: 'x\u2028y\u0085z' },
]

test('events are the same wherever the text is cut', () => {
  for (let cut = 0; cut <= WHOLE.length; cut++) {
    const parse = sseParser()
    const found = [...parse(WHOLE.slice(0, cut)), ...parse(''), ...parse(WHOLE.slice(cut))]
    expect(found, `cut at ${cut}`).toEqual(EVENTS)
  }
  const parse = sseParser()
  expect([...WHOLE].flatMap(parse)).toEqual(EVENTS)
})

test('a long event in many pieces is searched once', () => {
  const parse = sseParser()
  const piece = 'x'.repeat(1000)
  parse('data: ')
  for (let n = 0; n < 20_000; n++) expect(parse(piece)).toEqual([])
  expect(parse('\n\n')[0]?.data.length).toBe(20_000_000)
})
