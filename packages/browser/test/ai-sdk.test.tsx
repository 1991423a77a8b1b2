import { complaints, Page } from './page.js'

import { useChat } from '@ai-sdk/react'
import type { UIMessage } from 'ai'
import { useLayoutEffect } from 'react'
import { renderToString } from 'react-dom/server'
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'

import { durableTransport } from '../src/ai-sdk.js'
import {
  GenerationNotFound,
  GenerationOrphaned,
  GenerationTruncated,
  MemoryStorage,
  NotADurableProxy,
  ProxyRefused,
  ProxyUnreachable,
  UpstreamRejected,
  createDurableFetch,
} from '../src/index.js'
import type { DurableFetchOptions } from '../src/index.js'
import { randomUUID } from '../src/uuid.js'
import { QUICK, aModel, aRelay, anUpstream, proxyUrl, sse } from './fixtures.js'
import { Proxy, until } from './servers.js'

afterEach(() => {
  expect(complaints.splice(0)).toEqual([])
})

const start = sse({ type: 'start' }, { type: 'text-start', id: 't' })
const word = (delta: string) => sse({ type: 'text-delta', id: 't', delta })
const finish = sse({ type: 'text-end', id: 't' }, { type: 'finish' })

type Options = Parameters<typeof durableTransport<UIMessage>>[3]

/** One load of the page: `chat` is what useChat gave last. */
class Tab {
  readonly durable
  readonly page = new Page()
  chat!: ReturnType<typeof useChat<UIMessage>>

  constructor(
    api: string,
    session: string,
    readonly storage = new MemoryStorage(),
    options: Partial<DurableFetchOptions> & { chat?: Options } = {},
  ) {
    const { chat, ...more } = options
    this.durable = durableTransport(session, { proxyUrl, storage, timing: QUICK, ...more }, { api }, chat)
    onTestFinished(() => this.close())
  }

  readonly Chat = () => {
    const chat = useChat(this.durable.durableSession)
    // That of a render which stays: on a busy machine React begins the first one again.
    useLayoutEffect(() => void (this.chat = chat))
    return <p>{chat.messages.map(textOf).join('|')}</p>
  }

  async open(html?: string): Promise<this> {
    await this.page.show(<this.Chat />, html)
    await until(() => this.chat, 'the page')
    return this
  }

  get texts(): string[] {
    return this.chat.messages.map(textOf)
  }

  shows(text: string): Promise<void> {
    return until(() => this.texts.join('|') === text, `${text}, and not ${this.texts.join('|')}`)
  }

  becomes(status: string): Promise<void> {
    return until(() => this.chat.status === status, `to be ${status}, not ${this.chat.status}`)
  }

  close(): void {
    this.page.leave()
    this.durable.close()
  }
}

function textOf(message: UIMessage): string {
  return message.parts.map((part) => (part.type === 'text' ? part.text : '')).join('')
}

test('a reload in mid-stream: the text is whole, and the model was called once', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const first = await new Tab(model.url, session).open()
  void first.chat.sendMessage({ text: 'Hello' })
  model.say(...start, ...word('one '))
  await first.shows('Hello|one ')
  first.close()
  model.say(...word('two '))
  const second = await new Tab(model.url, session, first.storage).open()
  await second.shows('Hello|one two ')
  await second.becomes('streaming')
  model.say(...word('three'), ...finish)
  model.end()
  await second.becomes('ready')
  expect(second.texts).toEqual(['Hello', 'one two three'])
  expect(model.calls).toBe(1)
  second.close()
  const third = await new Tab(model.url, session, first.storage).open()
  await third.shows('Hello|one two three')
  model.reset()
  void third.chat.sendMessage({ text: 'More' })
  model.say(...start, ...word('four'), ...finish)
  model.end()
  await third.shows('Hello|one two three|More|four')
})

test('stop of useChat stops the model, and keeps what was there', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const ends: boolean[] = []
  const tab = await new Tab(model.url, session, undefined, {
    chat: { onFinish: (end) => ends.push(end.isAbort) },
  }).open()
  void tab.chat.sendMessage({ text: 'Hello' })
  model.say(...start, ...word('one '))
  await tab.shows('Hello|one ')
  await tab.chat.stop()
  await tab.becomes('ready')
  await until(() => model.upstream.disconnects === 1, 'the model to be let go')
  expect(ends).toEqual([true])
  tab.close()
  const again = await new Tab(model.url, session, tab.storage).open()
  await again.shows('Hello|one ')
  await again.becomes('ready')
  model.reset()
  void again.chat.sendMessage({ text: 'More' })
  model.say(...start, ...word('two'), ...finish)
  model.end()
  await again.shows('Hello|one |More|two')
})

test('stop after a reload stops the model, too', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const first = await new Tab(model.url, session).open()
  void first.chat.sendMessage({ text: 'Hello' })
  model.say(...start, ...word('one '))
  await first.shows('Hello|one ')
  first.close()
  const second = await new Tab(model.url, session, first.storage).open()
  await second.shows('Hello|one ')
  await second.becomes('streaming')
  await second.chat.stop()
  await until(() => model.upstream.disconnects === 1, 'the model to be let go')
  expect(second.texts).toEqual(['Hello', 'one '])
})

test('leaving the page, and mounting it again, stops nothing', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const tab = await new Tab(model.url, session).open()
  void tab.chat.sendMessage({ text: 'Hello' })
  model.say(...start, ...word('one '))
  await tab.shows('Hello|one ')
  tab.page.leave()
  const other = await new Page().show(<tab.Chat />)
  model.say(...word('two'))
  await tab.shows('Hello|one two')
  other.leave()
  model.say(...finish)
  model.end()
  const api = createDurableFetch({ proxyUrl })
  await until(async () => (await api.active(session)).length === 0, 'the end')
  expect(model.upstream.disconnects).toBe(0)
})

test('another tab shows what is sent, and follows what is answered, and its stop', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const first = await new Tab(model.url, session).open()
  const second = await new Tab(model.url, session, first.storage).open()
  void first.chat.sendMessage({ text: 'Hello' })
  await second.shows('Hello')
  model.say(...start, ...word('one '))
  await second.shows('Hello|one ')
  await second.becomes('streaming')
  await second.chat.stop()
  await first.becomes('ready')
  expect(first.chat.error).toBeUndefined()
  expect(first.texts).toEqual(['Hello', 'one '])
  expect(model.calls).toBe(1)
  await second.durable.clear()
  await first.shows('')
})

test('another browser shows what runs', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const first = await new Tab(model.url, session).open()
  void first.chat.sendMessage({ text: 'Hello' })
  model.say(...start, ...word('one '))
  await first.shows('Hello|one ')
  first.close()
  const other = await new Tab(model.url, session).open()
  await other.shows('one ')
})

test('another browser shows one message, however often it is reloaded', async () => {
  const [model, session, storage] = [await aModel(), randomUUID(), new MemoryStorage()]
  const first = await new Tab(model.url, session).open()
  void first.chat.sendMessage({ text: 'Hello' })
  model.say(...start, ...word('one '))
  await first.shows('Hello|one ')
  const { durable } = new Tab(model.url, session, storage)
  for (const _ of [1, 2, 3]) {
    const other = await new Tab(model.url, session, storage).open()
    await other.shows('one ')
    await other.becomes('streaming')
    other.close()
    await until(() => durable.initialMessages.length > 0, 'a save')
  }
  model.say(...word('two'), ...finish)
  model.end()
  await first.becomes('ready')
  const last = await new Tab(model.url, session, storage).open()
  await last.shows('one two')
})

test('a storage that is emptied in mid-answer: one message all the same', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const first = await new Tab(model.url, session).open()
  void first.chat.sendMessage({ text: 'Hello' })
  model.say(...start, ...word('one '))
  await first.shows('Hello|one ')
  const { sessions } = createDurableFetch({ proxyUrl, storage: first.storage })
  sessions.clear(session)
  first.close()
  await until(() => sessions.messages(session), 'what is shown to be saved')
  const second = await new Tab(model.url, session, first.storage).open()
  model.say(...word('two'), ...finish)
  model.end()
  await second.shows('Hello|one two')
})

test('the first render is that of the server, whatever is stored', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const first = await new Tab(model.url, session).open()
  void first.chat.sendMessage({ text: 'Hello' })
  model.say(...start, ...word('one'), ...finish)
  model.end()
  await first.shows('Hello|one')
  await first.becomes('ready')
  const second = new Tab(model.url, session, first.storage)
  expect(second.durable.initialMessages).toHaveLength(2)
  const html = renderToString(<second.Chat />)
  await second.open(html)
  await second.shows('Hello|one')
})

test('what breaks off is a typed error, and stays', async () => {
  const upstream = await anUpstream((_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'content-length': '1000' })
    response.write([...start, ...word('half')].join(''), () => response.destroy())
  })
  const session = randomUUID()
  const tab = await new Tab(upstream.url, session).open()
  void tab.chat.sendMessage({ text: 'Hello' })
  await tab.becomes('error')
  expect(tab.chat.error).toBeInstanceOf(GenerationTruncated)
  expect(tab.texts).toEqual(['Hello', 'half'])
  tab.close()
  for (const _ of ['a reload', 'one more']) {
    const again = await new Tab(upstream.url, session, tab.storage).open()
    await again.becomes('error')
    expect(again.chat.error).toBeInstanceOf(GenerationTruncated)
    expect(again.texts).toEqual(['Hello', 'half'])
    again.close()
  }
  expect(upstream.calls).toHaveLength(1)
})

test('an error that the model tells of is there after a reload', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const tab = await new Tab(model.url, session).open()
  void tab.chat.sendMessage({ text: 'Hello' })
  model.say(...start, ...word('half'), ...sse({ type: 'error', errorText: 'overloaded' }))
  model.end()
  await tab.becomes('error')
  tab.close()
  const again = await new Tab(model.url, session, tab.storage).open()
  await again.becomes('error')
  expect(again.chat.error?.message).toBe('overloaded')
  expect(again.texts).toEqual(['Hello', 'half'])
  model.reset()
  void again.chat.regenerate()
  model.say(...start, ...word('whole'), ...finish)
  model.end()
  await again.shows('Hello|whole')
  await again.becomes('ready')
  again.close()
  const last = await new Tab(model.url, session, tab.storage).open()
  await last.shows('Hello|whole')
  await last.becomes('ready')
})

test('a proxy that is killed while the page is closed: the text that had come, and an error', async () => {
  const proxy = await new Proxy().start()
  onTestFinished(() => proxy[Symbol.asyncDispose]())
  const [model, session] = [await aModel(), randomUUID()]
  const options = { proxyUrl: proxy.url }
  const tab = await new Tab(model.url, session, undefined, options).open()
  void tab.chat.sendMessage({ text: 'Hello' })
  model.say(...start, ...word('half'), ...word(' and'), 'data: {"type":"text-')
  await tab.shows('Hello|half and')
  tab.close()
  await proxy.kill()
  await proxy.start()
  for (const _ of ['a reload', 'one more']) {
    const again = await new Tab(model.url, session, tab.storage, options).open()
    await again.becomes('error')
    expect(again.chat.error).toBeInstanceOf(GenerationOrphaned)
    expect(again.texts).toEqual(['Hello', 'half and'])
    again.close()
  }
})

test('an answer that is not in the log is an error, and what had come stays', async () => {
  const [model, session, storage] = [await aModel(), randomUUID(), new MemoryStorage()]
  const shown = (role: 'user' | 'assistant', text: string) => ({
    id: role,
    role,
    parts: [{ type: 'text', text }],
  })
  const messages = [shown('user', 'Hello'), shown('assistant', 'half')]
  const pending = { requestId: 'gone', count: 1, last: messages[0] }
  createDurableFetch({ proxyUrl, storage }).sessions.saveMessages(session, { messages, pending })
  const tab = await new Tab(model.url, session, storage).open()
  await tab.becomes('error')
  expect(tab.chat.error).toBeInstanceOf(GenerationNotFound)
  expect(tab.texts).toEqual(['Hello', 'half'])
  await tab.chat.stop()
  tab.close()
  const stopped = await new Tab(model.url, session, storage).open()
  await stopped.shows('Hello|half')
  await stopped.becomes('ready')
})

const hello = { id: 'q', role: 'user', parts: [{ type: 'text', text: 'Hello' }] }

test.each([
  ['a null in the parts', { messages: [hello, { ...hello, parts: [null] }] }, ['Hello']],
  ['parts that are none', { messages: [{ ...hello, parts: null }, hello, { ...hello, parts: 'x' }] }, ['Hello']],
  ['a text without text', { messages: [{ ...hello, parts: [{ type: 'text' }] }, hello] }, ['Hello']],
  ['a part in place of a message', { messages: [{ type: 'text' }, null, 'x', hello] }, ['Hello']],
  ['a text in place of messages', { messages: 'x' }, []],
  ['nothing', null, []],
  ['a list', [hello], []],
])('what is stored and no message is left out, and told: %s', async (_, saved, texts) => {
  const [model, session, storage] = [await aModel(), randomUUID(), new MemoryStorage()]
  createDurableFetch({ proxyUrl, storage }).sessions.saveMessages(session, saved)
  const told: string[] = []
  const onStorage = (state: string) => void told.push(state)
  const tab = await new Tab(model.url, session, storage, { onStorage }).open()
  await until(() => told.length > 0, 'to be told')
  await tab.shows(texts.join('|'))
  expect(new Set(told)).toEqual(new Set(['unreadable']))
  void tab.chat.sendMessage({ text: 'More' })
  model.say(...start, ...word('one'), ...finish)
  model.end()
  await tab.shows([...texts, 'More', 'one'].join('|'))
})

test('a replay builds on the messages that can be read', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const first = await new Tab(model.url, session).open()
  void first.chat.sendMessage({ text: 'Hello' })
  model.say(...start, ...word('one '))
  await first.shows('Hello|one ')
  first.close()
  const { sessions } = createDurableFetch({ proxyUrl, storage: first.storage })
  const saved = sessions.messages<{ messages: unknown[]; pending: { count: number } }>(session)!
  const { messages, pending } = saved
  const damaged = { messages: [null, ...messages], pending: { ...pending, count: pending.count + 1 } }
  sessions.saveMessages(session, damaged)
  const second = await new Tab(model.url, session, first.storage).open()
  model.say(...word('two'), ...finish)
  model.end()
  await second.shows('Hello|one two')
})

test('a storage that is full is told, and when it is not any more', async () => {
  const [model, session, storage] = [await aModel(), randomUUID(), new MemoryStorage()]
  const told: string[] = []
  const onStorage = (state: string) => void told.push(state)
  const tab = await new Tab(model.url, session, storage, { onStorage }).open()
  const full = vi.spyOn(storage, 'setItem').mockImplementation(() => {
    throw new DOMException('full', 'QuotaExceededError')
  })
  void tab.chat.sendMessage({ text: 'Hello' })
  await until(() => told.length > 0, 'to be told')
  expect(told).toEqual(['not_kept'])
  full.mockRestore()
  model.say(...start, ...word('one'), ...finish)
  model.end()
  await tab.shows('Hello|one')
  await until(() => told.length > 1, 'to be told')
  expect(told).toEqual(['not_kept', 'kept'])
})

test.each([
  ['a page of HTML', 200, 'text/html', '<html>', UpstreamRejected, /something else than a chat/],
  ['an error page', 502, 'text/html', '<html>', UpstreamRejected, /502/],
  ['an error', 418, 'text/plain', 'a teapot', Error, /a teapot/],
])('a backend that answers with %s', async (_, status, type, body, kind, words) => {
  const upstream = await anUpstream((_, response) => {
    response.writeHead(status, { 'content-type': type })
    response.end(body)
  })
  const tab = await new Tab(upstream.url, randomUUID()).open()
  void tab.chat.sendMessage({ text: 'Hello' })
  await tab.becomes('error')
  expect(tab.chat.error).toBeInstanceOf(kind)
  expect(tab.chat.error?.message).toMatch(words)
})

test('a backend that the proxy may not call', async () => {
  const tab = await new Tab('http://not-allowed.example/', randomUUID()).open()
  void tab.chat.sendMessage({ text: 'Hello' })
  await tab.becomes('error')
  expect(tab.chat.error).toBeInstanceOf(ProxyRefused)
  expect(tab.chat.error).toMatchObject({ code: 'upstream_not_allowed' })
})

test('a proxy that is down at load is an error, and there is a way on', async () => {
  const relay = await aRelay()
  relay.down = true
  const model = await aModel()
  const tab = await new Tab(model.url, randomUUID(), undefined, { proxyUrl: relay.url }).open()
  await tab.becomes('error')
  expect(tab.chat.error).toBeInstanceOf(ProxyUnreachable)
  relay.down = false
  void tab.chat.sendMessage({ text: 'Hello' })
  model.say(...start, ...word('one'), ...finish)
  model.end()
  await tab.shows('Hello|one')
  await tab.becomes('ready')
  relay.takeDown()
  await tab.chat.stop()
  await tab.becomes('error')
  expect(tab.chat.error).toBeInstanceOf(ProxyUnreachable)
})

test('a server that is no proxy is an error that says so', async () => {
  const upstream = await anUpstream((_, response) => response.end('<html>'))
  const tab = await new Tab('http://x/', randomUUID(), undefined, { proxyUrl: upstream.url }).open()
  await tab.becomes('error')
  expect(tab.chat.error).toBeInstanceOf(NotADurableProxy)
})

test('a question that something else has taken is asked once it is known not to be there', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  let healed = false
  const html = () => new Response('<html>', { headers: { 'content-type': 'text/html' } })
  const tab = await new Tab(model.url, session, undefined, {
    fetch: (input, init) => (healed ? fetch(input, init) : Promise.resolve(html())),
  }).open()
  void tab.chat.sendMessage({ text: 'Hello' })
  await until(() => tab.chat.error instanceof NotADurableProxy && tab.texts.length > 0, 'an error')
  healed = true
  await tab.chat.resumeStream()
  await until(() => tab.chat.error instanceof GenerationNotFound, 'to be told')
  void tab.chat.regenerate()
  model.say(...start, ...word('one'), ...finish)
  model.end()
  await tab.shows('Hello|one')
  await tab.becomes('ready')
})
