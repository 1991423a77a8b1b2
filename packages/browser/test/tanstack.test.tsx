import { complaints, Page } from './page.js'

import { useChat } from '@tanstack/ai-react'
import { useEffect } from 'react'
import { renderToString } from 'react-dom/server'
import { afterEach, expect, onTestFinished, test } from 'vitest'

import {
  GenerationOrphaned,
  GenerationTruncated,
  MemoryStorage,
  ProxyUnreachable,
  UpstreamRejected,
  createDurableFetch,
} from '../src/index.js'
import type { DurableFetchOptions } from '../src/index.js'
import { durableTransport } from '../src/tanstack.js'
import type { Durability } from '../src/tanstack.js'
import { randomUUID } from '../src/uuid.js'
import { QUICK, aModel, aRelay, anUpstream, proxyUrl, sse } from './fixtures.js'
import { Proxy, until } from './servers.js'

afterEach(() => {
  expect(complaints.splice(0)).toEqual([])
})

const ids = { threadId: 'chat', runId: 'run' }
const start = sse(
  { type: 'RUN_STARTED', ...ids },
  { type: 'TEXT_MESSAGE_START', messageId: 'm', role: 'assistant' },
)
const word = (delta: string) => sse({ type: 'TEXT_MESSAGE_CONTENT', messageId: 'm', delta })
const finish = sse(
  { type: 'TEXT_MESSAGE_END', messageId: 'm' },
  { type: 'RUN_FINISHED', ...ids, finishReason: 'stop' },
)

/** One load of the page: `chat` is what useChat gave last. */
class Tab {
  readonly durable
  readonly page = new Page()
  chat!: ReturnType<typeof useChat>
  isMounted = false
  durability!: Durability

  constructor(
    api: string,
    session: string,
    readonly storage = new MemoryStorage(),
    options: Partial<DurableFetchOptions> = {},
  ) {
    this.durable = durableTransport(session, { proxyUrl, storage, timing: QUICK, ...options }, { api })
    onTestFinished(() => this.page.leave())
  }

  readonly Chat = () => {
    this.chat = useChat(this.durable.durableSession)
    this.durability = this.durable.useDurability(this.chat)
    useEffect(() => void (this.isMounted = true))
    return <p>{this.texts.join('|')}</p>
  }

  async open(html?: string): Promise<this> {
    await this.page.show(<this.Chat />, html)
    await until(() => this.isMounted, 'the page')
    return this
  }

  get texts(): string[] {
    return this.chat.messages.map((message) =>
      message.parts.map((part) => (part.type === 'text' ? part.content : '')).join(''),
    )
  }

  shows(text: string): Promise<void> {
    return until(
      () => this.texts.join('|') === text,
      `${text}, and not ${this.texts.join('|')} (${this.chat.error})`,
    )
  }

  becomes(status: string): Promise<void> {
    return until(() => this.chat.status === status, `to be ${status}, not ${this.chat.status}`)
  }
}

test('a reload in mid-stream goes on with the same message, and the model was called once', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const first = await new Tab(model.url, session).open()
  void first.chat.sendMessage('Hello')
  model.say(...start, ...word('one '))
  await first.shows('Hello|one ')
  first.page.leave()
  model.say(...word('two '))
  const second = await new Tab(model.url, session, first.storage).open()
  await second.shows('Hello|one two ')
  await until(() => second.chat.isLoading, 'the answer to be resumed')
  model.say(...word('three'), ...finish)
  model.end()
  await second.shows('Hello|one two three')
  await until(() => !second.chat.isLoading, 'the end')
  expect(model.calls).toBe(1)
  expect(model.upstream.disconnects).toBe(0)
  second.page.leave()
  const third = await new Tab(model.url, session, first.storage).open()
  await third.shows('Hello|one two three')
  model.reset()
  void third.chat.sendMessage('More')
  const again = (lines: string[]) => lines.map((line) => line.replaceAll('"m"', '"m2"'))
  model.say(...again(start), ...again(word('four')), ...again(finish))
  model.end()
  await third.shows('Hello|one two three|More|four')
  expect(model.calls).toBe(2)
})

test.each(['before', 'after'])('stop of useChat %s a reload stops the model', async (when) => {
  const [model, session] = [await aModel(), randomUUID()]
  let tab = await new Tab(model.url, session).open()
  void tab.chat.sendMessage('Hello')
  model.say(...start, ...word('one '))
  await tab.shows('Hello|one ')
  if (when === 'after') {
    tab.page.leave()
    tab = await new Tab(model.url, session, tab.storage).open()
    await tab.shows('Hello|one ')
    await until(() => tab.chat.isLoading, 'the answer to be resumed')
  }
  tab.chat.stop()
  await until(() => model.upstream.disconnects === 1, 'the model to be let go')
  await until(() => !tab.chat.isLoading, 'the end')
  expect(tab.chat.error).toBeUndefined()
  expect(tab.texts).toEqual(['Hello', 'one '])
  tab.page.leave()
  const again = await new Tab(model.url, session, tab.storage).open()
  await again.shows('Hello|one ')
  await until(() => !again.chat.isLoading, 'the page to know that it was stopped')
  expect(again.texts).toEqual(['Hello', 'one '])
})

test('stop of the session ends the answer without an error', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const tab = await new Tab(model.url, session).open()
  void tab.chat.sendMessage('Hello')
  model.say(...start, ...word('one '))
  await tab.shows('Hello|one ')
  expect(await tab.durable.stop()).toMatchObject({ stopped: true })
  await until(() => !tab.chat.isLoading, 'the end')
  expect(tab.chat.error).toBeUndefined()
  expect(tab.texts).toEqual(['Hello', 'one '])
})

test('leaving the page stops nothing', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const tab = await new Tab(model.url, session).open()
  void tab.chat.sendMessage('Hello')
  model.say(...start, ...word('one '))
  await tab.shows('Hello|one ')
  tab.page.leave()
  await new Promise((resolve) => setTimeout(resolve, 100))
  const api = createDurableFetch({ proxyUrl })
  expect(await api.active(session)).toMatchObject([{ state: 'streaming', stopping: false }])
})

test('another tab shows what is sent, and follows what is answered', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const first = await new Tab(model.url, session).open()
  const second = await new Tab(model.url, session, first.storage).open()
  void first.chat.sendMessage('Hello')
  await second.shows('Hello')
  model.say(...start, ...word('one '))
  await second.shows('Hello|one ')
  expect(second.durability.isFollowing).toBe(true)
  await second.durable.stop()
  await until(() => !first.chat.isLoading && !second.durability.isFollowing, 'the end')
  expect(first.chat.error).toBeUndefined()
  expect(first.texts).toEqual(['Hello', 'one '])
  expect(model.calls).toBe(1)
  await second.durable.clearSession()
  await first.shows('')
  await second.shows('')
})

test('another browser shows what runs', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const first = await new Tab(model.url, session).open()
  void first.chat.sendMessage('Hello')
  model.say(...start, ...word('one '))
  await first.shows('Hello|one ')
  const other = await new Tab(model.url, session).open()
  await other.shows('one ')
})

test('the first render is that of the server, whatever is stored', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const first = await new Tab(model.url, session).open()
  void first.chat.sendMessage('Hello')
  model.say(...start, ...word('one'), ...finish)
  model.end()
  await first.shows('Hello|one')
  await until(() => !first.chat.isLoading, 'the end')
  first.page.leave()
  const second = new Tab(model.url, session, first.storage)
  const html = renderToString(<second.Chat />)
  await second.open(html)
  await second.shows('Hello|one')
})

test('what breaks off is an error, and stays', async () => {
  const upstream = await anUpstream((_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'content-length': '1000' })
    response.write([...start, ...word('half')].join(''), () => response.destroy())
  })
  const session = randomUUID()
  const tab = await new Tab(upstream.url, session).open()
  tab.chat.sendMessage('Hello').catch(() => {})
  await tab.becomes('error')
  expect(tab.chat.error?.message).toMatch(/^The model ended its answer too early/)
  await until(() => tab.durability.error, 'the error with its class')
  expect(tab.durability.error).toBeInstanceOf(GenerationTruncated)
  await tab.shows('Hello|half')
  tab.page.leave()
  for (const _ of ['a reload', 'one more']) {
    const again = await new Tab(upstream.url, session, tab.storage).open()
    await until(() => again.durability.error && again.chat.error, 'the error')
    expect(again.durability.error).toBeInstanceOf(GenerationTruncated)
    await again.shows('Hello|half')
    again.page.leave()
  }
  expect(upstream.calls).toHaveLength(1)
})

test('an error that the model tells of is there after a reload, until all is answered', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const tab = await new Tab(model.url, session).open()
  void tab.chat.sendMessage('Hello')
  model.say(...start, ...word('half'), ...sse({ type: 'RUN_ERROR', message: 'overloaded' }))
  model.end()
  await until(() => tab.chat.error && tab.durability.error, 'the error')
  tab.page.leave()
  const again = await new Tab(model.url, session, tab.storage).open()
  await until(() => again.chat.error && again.durability.error, 'the error')
  expect(again.durability.error?.message).toBe('overloaded')
  await until(() => !again.chat.isLoading, 'the attempt to be over')
  await again.shows('Hello|half')
  expect(model.calls).toBe(1)
  model.reset()
  void again.chat.reload()
  model.say(...start, ...word('whole'), ...finish)
  model.end()
  await again.shows('Hello|whole')
  await until(() => !again.chat.isLoading, 'the end')
  expect(again.durability.error).toBeUndefined()
  again.page.leave()
  const joined: string[] = []
  const last = await new Tab(model.url, session, tab.storage, {
    onConnection: (state) => void joined.push(state),
  }).open()
  await last.shows('Hello|whole')
  expect([last.durability.error, joined]).toEqual([undefined, []])
})

test('what was stopped stays marked as such when the conversation goes on', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const tab = await new Tab(model.url, session).open()
  const other = await new Tab(model.url, session, tab.storage).open()
  void tab.chat.sendMessage('Hello')
  model.say(...start, ...word('half'))
  await tab.shows('Hello|half')
  const half = tab.chat.messages[1]?.id
  await tab.durable.stop()
  await until(() => !tab.chat.isLoading && other.durability.isStopped, 'the stop')
  for (const [index, text] of ['More', 'Most'].entries()) {
    model.reset()
    void tab.chat.sendMessage(text)
    const lines = [...start, ...word('all'), ...finish]
    model.say(...lines.map((line) => line.replaceAll('"m"', `"m${index}"`)))
    model.end()
    await until(() => !tab.chat.isLoading && tab.chat.messages.length === 4 + 2 * index, 'the end')
  }
  expect([tab.durability.isStopped, tab.durability.cut]).toEqual([false, [half]])
  await other.shows('Hello|half|More|all|Most|all')
  expect(other.durability.cut).toEqual([half])
  tab.page.leave()
  other.page.leave()
  const again = await new Tab(model.url, session, tab.storage).open()
  await again.shows('Hello|half|More|all|Most|all')
  expect([again.durability.isStopped, again.durability.cut]).toEqual([false, [half]])
  await again.durable.clearSession()
  await until(() => again.durability.cut.length === 0, 'it to be forgotten')
})

test('an answer that broke off while nobody looked is shown as far as it came', async () => {
  let breakOff = () => {}
  const upstream = await anUpstream((_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'content-length': '1000' })
    response.write([...start, ...word('one ')].join(''))
    breakOff = () => response.write(word('two').join(''), () => response.destroy())
  })
  const session = randomUUID()
  const first = await new Tab(upstream.url, session).open()
  void first.chat.sendMessage('Hello')
  await first.shows('Hello|one ')
  first.page.leave()
  breakOff()
  const api = createDurableFetch({ proxyUrl })
  await until(async () => (await api.active(session)).length === 0, 'the end')
  const second = await new Tab(upstream.url, session, first.storage).open()
  await until(() => second.durability.error && !second.chat.isLoading, 'the error')
  await second.shows('Hello|one two')
})

test('what another browser asks is followed by one whose own answer broke off', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const here = await new Tab(model.url, session).open()
  void here.chat.sendMessage('Hello')
  model.say(...start, ...word('half'))
  await here.shows('Hello|half')
  await here.durable.stop()
  await until(() => !here.chat.isLoading, 'the stop')
  here.page.leave()
  model.reset()
  const there = await new Tab(model.url, session).open()
  void there.chat.sendMessage('More')
  const lines = [...start, ...word('one')].map((line) => line.replaceAll('"m"', '"m2"'))
  model.say(...lines)
  await there.shows('More|one')
  const again = await new Tab(model.url, session, here.storage).open()
  await again.shows('Hello|half|one')
  expect(again.durability.isFollowing).toBe(true)
})

test('a restart of the proxy is told after a reload, too', async () => {
  await using proxy = await new Proxy().start()
  const [model, session] = [await aModel(), randomUUID()]
  const options = { proxyUrl: proxy.url }
  const tab = await new Tab(model.url, session, undefined, options).open()
  void tab.chat.sendMessage('Hello')
  model.say(...start, ...word('half'))
  await tab.shows('Hello|half')
  await proxy.kill()
  await proxy.start()
  await until(() => tab.durability.error, 'the error')
  expect(tab.durability.error).toBeInstanceOf(GenerationOrphaned)
  tab.page.leave()
  const again = await new Tab(model.url, session, tab.storage, options).open()
  await until(() => again.durability.error, 'the error')
  expect(again.durability.error).toBeInstanceOf(GenerationOrphaned)
  await again.shows('Hello|half')
})

test.each(['useChat', 'the session'])('a stop of %s is told, also after a reload', async (whose) => {
  const [model, session] = [await aModel(), randomUUID()]
  const tab = await new Tab(model.url, session).open()
  const other = await new Tab(model.url, session, tab.storage).open()
  void tab.chat.sendMessage('Hello')
  model.say(...start, ...word('half'))
  await tab.shows('Hello|half')
  await other.shows('Hello|half')
  if (whose === 'useChat') tab.chat.stop()
  else await tab.durable.stop()
  const isTold = (one: Tab) => !one.chat.isLoading && one.durability.isStopped
  await until(() => isTold(tab) && isTold(other) && !other.durability.isFollowing, 'the stop')
  other.page.leave()
  tab.page.leave()
  const again = await new Tab(model.url, session, tab.storage).open()
  await until(() => isTold(again), 'the stop')
  await again.shows('Hello|half')
  expect([again.durability.error, again.chat.error]).toEqual([undefined, undefined])
  model.reset()
  void again.chat.reload()
  model.say(...start, ...word('whole'), ...finish)
  model.end()
  await again.shows('Hello|whole')
  await until(() => !again.chat.isLoading, 'the end')
  expect([again.durability.isStopped, again.durability.cut]).toEqual([false, []])
  expect(model.calls).toBe(2)
})

test('a backend that answers with a page of HTML', async () => {
  const upstream = await anUpstream((_, response) => {
    response.writeHead(200, { 'content-type': 'text/html' })
    response.end('<html>')
  })
  const tab = await new Tab(upstream.url, randomUUID()).open()
  tab.chat.sendMessage('Hello').catch(() => {})
  await tab.becomes('error')
  expect(tab.chat.error?.message).toBe(new UpstreamRejected(
    '200, a page of HTML in place of a stream of events',
  ).message)
})

test('a proxy that is down at load is an error, and there is a way on', async () => {
  const relay = await aRelay()
  relay.down = true
  const model = await aModel()
  const tab = await new Tab(model.url, randomUUID(), undefined, { proxyUrl: relay.url }).open()
  await until(() => tab.durability.error, 'an error')
  expect(tab.durability.error).toBeInstanceOf(ProxyUnreachable)
  relay.down = false
  void tab.chat.sendMessage('Hello')
  model.say(...start, ...word('one'), ...finish)
  model.end()
  await tab.shows('Hello|one')
  expect(tab.durability.error).toBeUndefined()
})

test('an answer that went on without us is resumed by what asks again', async () => {
  const relay = await aRelay()
  const [model, session] = [await aModel(), randomUUID()]
  const options = { proxyUrl: relay.url }
  const first = await new Tab(model.url, session, undefined, options).open()
  void first.chat.sendMessage('Hello')
  model.say(...start, ...word('one '))
  await first.shows('Hello|one ')
  first.page.leave()
  relay.takeDown()
  const second = await new Tab(model.url, session, first.storage, options).open()
  await until(() => second.durability.error, 'an error')
  expect(second.durability.error).toBeInstanceOf(ProxyUnreachable)
  await until(() => !second.chat.isLoading, 'the attempt to be over')
  void second.chat.reload()
  await until(() => second.chat.isLoading, 'the second attempt')
  await until(() => !second.chat.isLoading, 'the second attempt to be over')
  relay.mend()
  void second.chat.reload()
  await second.shows('Hello|one ')
  model.say(...word('two'), ...finish)
  model.end()
  await second.shows('Hello|one two')
  await until(() => !second.chat.isLoading, 'the end')
  expect(model.calls).toBe(1)
  expect([second.durability.error, second.chat.error]).toEqual([undefined, undefined])
})

test('a question that never got to the proxy is asked again', async () => {
  const relay = await aRelay()
  const model = await aModel()
  const timing = { ...QUICK, giveUpAfter: 300 }
  const options = { proxyUrl: relay.url, timing }
  const tab = await new Tab(model.url, randomUUID(), undefined, options).open()
  relay.takeDown()
  tab.chat.sendMessage('Hello').catch(() => {})
  await until(() => tab.chat.error && !tab.chat.isLoading, 'an error')
  relay.mend()
  void tab.chat.reload()
  model.say(...start, ...word('one'), ...finish)
  model.end()
  await tab.shows('Hello|one')
  expect(model.calls).toBe(1)
})

test('a reload after an approval keeps the tool call that it was about', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  const first = await new Tab(model.url, session).open()
  void first.chat.sendMessage('Mail it')
  const approval = { id: 'a', needsApproval: true }
  model.say(
    ...start,
    ...sse(
      { type: 'TOOL_CALL_START', toolCallId: 't', toolCallName: 'mail', parentMessageId: 'm' },
      { type: 'TOOL_CALL_ARGS', toolCallId: 't', delta: '{}' },
      { type: 'TOOL_CALL_END', toolCallId: 't' },
      { type: 'CUSTOM', name: 'approval-requested', value: { toolCallId: 't', approval } },
    ),
    ...finish,
  )
  model.end()
  await until(() => !first.chat.isLoading && first.chat.messages.length === 2, 'the question')
  model.reset()
  void first.chat.addToolApprovalResponse({ id: 'a', approved: true })
  await until(() => model.calls === 2, 'the answer to be asked for')
  first.page.leave()
  const second = await new Tab(model.url, session, first.storage).open()
  model.say(...[...start, ...word('sent'), ...finish].map((line) => line.replaceAll('"m"', '"m2"')))
  model.end()
  await second.shows('Mail it||sent')
  const call = second.chat.messages[1]?.parts.find((part) => part.type === 'tool-call')
  expect(call).toMatchObject({ id: 't', approval: { approved: true } })
})
