/** `useChat` of the Vercel AI SDK on durable answers. */

import { Chat } from '@ai-sdk/react'
import { DefaultChatTransport } from 'ai'
import type { ChatInit, ChatTransport, HttpChatTransportInitOptions, UIMessage, UIMessageChunk } from 'ai'

import { endingQuietly, readable } from './answers.js'
import { ChatStore } from './chat-store.js'
import { GenerationAborted, GenerationNotFound } from './errors.js'
import { createDurableFetch } from './fetch.js'
import type { DurableFetchOptions } from './fetch.js'
import type { StopOptions, Stopped } from './desk.js'
import { Tabs } from './tabs.js'
import { randomUUID, wireId } from './uuid.js'

const NO_CONTENT = 204

/** Where the requests of the chat go: options of `DefaultChatTransport`, such as `api`. */
export type ChatRequestInit<M extends UIMessage> = Omit<HttpChatTransportInitOptions<M>, 'fetch'>

/**
 * How messages are kept, and the callbacks of the chat: `onFinish`, `onError`, `onToolCall`,
 * `onData`, `sendAutomaticallyWhen`, ... They belong here, not into the options of `useChat`, which
 * ignores them where it is given a chat.
 */
export interface DurableOptions<M extends UIMessage>
  extends Omit<ChatInit<M>, 'id' | 'messages' | 'transport'> {
  /** How long messages are kept after the last change: 7 days. */
  messages?: { ttlMs?: number }
  /** How long a generation can be resumed after its last sign of life: one hour. */
  activeGeneration?: { ttlMs?: number }
}

export interface DurableTransport<M extends UIMessage> {
  /** To be spread into the options of `useChat`: a chat that outlives the component, and `resume`. */
  durableSession: { chat: Chat<M>; resume: true }
  /** The messages as they are stored. The chat shows them by itself, once it is mounted. */
  readonly initialMessages: M[]
  /**
   * Stop the model, whether this page, an earlier one or another tab has asked it. The chat's own
   * `stop` does the same.
   *
   * @throws GenerationError when the proxy could not be told; the chat shows it as its error, too.
   */
  stop: (options?: StopOptions) => Promise<Stopped>
  /** Stop the model and forget all messages, in every tab. */
  clear: () => Promise<void>
  /** Let go of everything, for a session that is not shown any more. What runs goes on. */
  close: () => void
}

/**
 * A durable session for `useChat`: it survives reloads, lost connections and restarts.
 *
 *     const { durableSession } = durableTransport('chat-1', { proxyUrl }, { api: '/api/chat' })
 *     const { messages, sendMessage, stop } = useChat(durableSession)
 *
 * Call it once for a session, outside of the component. Stored messages appear when the component
 * is mounted, so that the first render is that of the server.
 *
 * @param sessionId Any text; it names the conversation.
 * @param fetchOptions Where the durable proxy is.
 * @param request Where the chat's requests go.
 * @param options How messages are kept, and the chat's callbacks.
 */
export function durableTransport<M extends UIMessage = UIMessage>(
  sessionId: string,
  fetchOptions: DurableFetchOptions,
  request: ChatRequestInit<M> = {},
  options: DurableOptions<M> = {},
): DurableTransport<M> {
  const durable = new DurableSession<M>(sessionId, fetchOptions, request, options)
  return {
    durableSession: { chat: durable.chat, resume: true },
    get initialMessages() {
      return durable.store.load().messages
    },
    stop: (told) => durable.stop(told),
    clear: () => durable.clear(),
    close: () => durable.close(),
  }
}

class DurableSession<M extends UIMessage> implements ChatTransport<M> {
  readonly chat: DurableChat<M>
  readonly store: ChatStore<M>
  readonly #session: string
  readonly #fetch
  readonly #request: ChatRequestInit<M>
  /** Of the request that runs, as the proxy knows it. */
  #requestId: string | undefined
  #isReplay = true
  #tabs: Tabs<M> | undefined
  #stopListening = () => {}

  constructor(
    sessionId: string,
    fetchOptions: DurableFetchOptions,
    request: ChatRequestInit<M>,
    { messages, activeGeneration, ...init }: DurableOptions<M>,
  ) {
    this.#session = wireId(sessionId)
    const { ttlMs } = activeGeneration ?? {}
    this.#fetch = createDurableFetch({ activeTtlMs: ttlMs, ...fetchOptions })
    this.store = new ChatStore(this.#fetch.sessions, this.#session, messages?.ttlMs)
    this.#request = request
    const onFinish: ChatInit<M>['onFinish'] = (end) => {
      this.store.save(end.messages, !(end.isAbort || end.isError || end.isDisconnect))
      init.onFinish?.(end)
    }
    const own = { ...init, id: sessionId, transport: this, onFinish }
    this.chat = new DurableChat<M>(own, () => this.#stopModel({}))
  }

  // ---------------------------------------------------------------- what the chat calls

  /** A continued message is not a replay: its beginning came with an earlier answer. */
  get resumeStreamIsReplay(): boolean {
    return this.#isReplay
  }

  async sendMessages(
    options: Parameters<ChatTransport<M>['sendMessages']>[0],
  ): Promise<ReadableStream<UIMessageChunk>> {
    this.#listen()
    this.#requestId = randomUUID()
    this.store.sent(this.#requestId, options.messages)
    this.#tabs?.tell({ kind: 'sent', messages: options.messages })
    const end: BodyEnd = {}
    const stream = await this.#transport(end).sendMessages(options)
    this.#tabs?.tell({ kind: 'began' })
    return endingAs(end, stream)
  }

  async reconnectToStream(
    options: Parameters<ChatTransport<M>['reconnectToStream']>[0],
  ): Promise<ReadableStream<UIMessageChunk> | null> {
    this.#listen()
    if (this.chat.messages.length === 0) this.chat.messages = this.store.open()
    const end: BodyEnd = {}
    const stream = await this.#transport(end).reconnectToStream(options)
    if (stream === null) return null
    // The answer is replayed from its start, on the messages that it is an answer to.
    const base = this.store.baseOf(this.#requestId)
    if (base !== undefined) this.chat.messages = base
    // What another browser has asked: a reload of this page has to replace what it shows from now on.
    else if (this.#requestId !== undefined) this.store.sent(this.#requestId, this.chat.messages)
    this.#isReplay = this.chat.lastMessage?.role !== 'assistant' || base === undefined
    return endingAs(end, stream)
  }

  /** For one request, the end of whose body is noted. */
  #transport(end: BodyEnd): DefaultChatTransport<M> {
    return new DefaultChatTransport<M>({
      ...this.#request,
      fetch: async (input, init) => {
        const starts = init?.method === 'POST'
        const response = await (starts ? this.#start(input, init) : this.#resume(input, init))
        this.#requestId = response.headers.get('x-request-id') ?? undefined
        return endingQuietly(await readable(response), (error) => (end.error = error))
      },
    })
  }

  #start(input: RequestInfo | URL, init: RequestInit): Promise<Response> {
    const headers = this.#headers(init)
    headers.set('X-Request-ID', this.#requestId ?? randomUUID())
    return this.#fetch(input, { ...init, headers })
  }

  /** What runs; when nothing does, the answer that has not come to its end here, once more. */
  async #resume(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
    const headers = this.#headers(init)
    headers.set('X-Resume-Active-Generation', 'true')
    // The SDK makes messages of whole answers only.
    headers.set('X-Replay-From-Start', 'true')
    const unfinished = this.store.load().pending?.requestId
    const running = await this.#fetch(input, { ...init, headers })
    if (running.status !== NO_CONTENT || unfinished === undefined) return running
    if (this.store.load().pending?.requestId !== unfinished) return running // something was sent
    headers.set('X-Request-ID', unfinished)
    const ended = await this.#fetch(input, { ...init, headers })
    if (ended.status === NO_CONTENT) throw new GenerationNotFound()
    return ended
  }

  #headers(init?: RequestInit): Headers {
    const headers = new Headers(init?.headers)
    headers.set('X-Session-ID', this.#session)
    return headers
  }

  // ---------------------------------------------------------------- what the page calls

  async stop(told: StopOptions = {}): Promise<Stopped> {
    let stopped: Stopped = { stopped: false, state: undefined, requestId: undefined }
    await this.chat.stopWith(async () => (stopped = await this.#stopModel(told)))
    return stopped
  }

  async clear(): Promise<void> {
    await this.stop()
    this.#fetch.clear(this.#session)
    this.chat.messages = []
    this.#tabs?.tell({ kind: 'cleared' })
  }

  close(): void {
    void this.chat.leave()
    this.#tabs?.close()
    this.#tabs = undefined
    this.#stopListening()
  }

  async #stopModel(told: StopOptions): Promise<Stopped> {
    const stopped = await this.#fetch.stop(this.#session, told)
    this.store.settle(told.requestId)
    return stopped
  }

  // ---------------------------------------------------------------- the page, and other tabs

  #listen(): void {
    if (this.#tabs !== undefined || typeof window === 'undefined') return
    this.#tabs = new Tabs<M>(`durable-ai:${this.#session}`, (message) => {
      if (this.#isBusy) return
      if (message.kind === 'began') void this.chat.resumeStream()
      else this.chat.messages = message.kind === 'sent' ? message.messages : []
    })
    const leaving = () => {
      if (document.visibilityState === 'hidden' && this.chat.messages.length > 0) {
        this.store.save(this.chat.messages, false)
      }
    }
    document.addEventListener('visibilitychange', leaving)
    this.#stopListening = () => document.removeEventListener('visibilitychange', leaving)
  }

  get #isBusy(): boolean {
    return this.chat.status === 'submitted' || this.chat.status === 'streaming'
  }
}

/**
 * A chat whose `stop` stops the model.
 *
 * `useChat` stops a chat of its own when its component is unmounted, and tells that from a press of
 * the stop button by nothing. A chat that it is given it leaves alone.
 */
class DurableChat<M extends UIMessage> extends Chat<M> {
  /** Stop reading; the model goes on. */
  readonly leave: () => Promise<void>

  constructor(init: ChatInit<M>, stopModel: () => Promise<unknown>) {
    super(init)
    this.leave = this.stop
    this.stop = () => this.stopWith(stopModel).catch(() => {}) // the chat shows it: `stopWith`
  }

  /** Stop reading, and stop the model by `stopModel`, whose error is that of the chat. */
  async stopWith(stopModel: () => Promise<unknown>): Promise<void> {
    const told = stopModel()
    await Promise.allSettled([told, this.leave()])
    try {
      await told
    } catch (error) {
      this.setStatus({ status: 'error', error: error as Error })
      throw error
    }
  }
}

/** How a body ended, when that was not well. */
interface BodyEnd {
  error?: unknown
}

/** The stream, which ends as its body did. Where the model was stopped, that is no error. */
function endingAs(
  end: BodyEnd,
  stream: ReadableStream<UIMessageChunk>,
): ReadableStream<UIMessageChunk> {
  const reader = stream.getReader()
  return new ReadableStream<UIMessageChunk>({
    async pull(controller) {
      const { done, value } = await reader.read()
      if (!done) return controller.enqueue(value)
      if (end.error instanceof GenerationAborted) {
        // Nothing is sent by itself after a stop.
        controller.enqueue({ type: 'finish', finishReason: 'interrupted' } as UIMessageChunk)
      } else if (end.error !== undefined) throw end.error
      controller.close()
    },
    cancel: (reason) => reader.cancel(reason),
  })
}
