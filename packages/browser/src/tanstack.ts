/** `useChat` of TanStack AI on durable answers. */

import { StreamProcessor } from '@tanstack/ai/client'
import type { StreamChunk } from '@tanstack/ai/client'
import { fetchServerSentEvents } from '@tanstack/ai-client'
import type {
  ChatClientPersistence,
  ChatPersistedState,
  FetchConnectionOptions,
  ResumableConnectConnectionAdapter,
  UIMessage,
} from '@tanstack/ai-client'
import { useEffect, useRef, useSyncExternalStore } from 'react'

import { readable } from './answers.js'
import { ChatStore } from './chat-store.js'
import type { Pending } from './chat-store.js'
import type { StopOptions, Stopped } from './desk.js'
import { DurableError, GenerationAborted, GenerationNotFound, ProxyError } from './errors.js'
import { createDurableFetch } from './fetch.js'
import type { DurableFetchOptions } from './fetch.js'
import { Tabs } from './tabs.js'
import { wireId } from './uuid.js'

/** Where the requests of the chat go, and what goes with them. */
export interface ChatRequestInit extends Omit<FetchConnectionOptions, 'fetchClient' | 'reconnect'> {
  /** The chat's endpoint; `/api/chat` when absent. */
  api?: string | (() => string)
}

export interface DurableOptions {
  /** How long messages are kept after the last change: 7 days. */
  messages?: { ttlMs?: number }
  /** How long a generation can be resumed after its last sign of life: one hour. */
  activeGeneration?: { ttlMs?: number }
}

/** What `useDurability` needs of what `useChat` returns. */
export interface DurableChat {
  messages: UIMessage[]
  isLoading: boolean
  setMessages: (messages: UIMessage[]) => void
  clear: () => void
}

/** What `useDurability` tells. */
export interface Durability {
  /** Another tab has asked, and its answer is being shown here. */
  isFollowing: boolean
  /** The last answer was stopped before its end, here or elsewhere; also after a reload. */
  isStopped: boolean
  /** Ids of earlier answers that did not come to their end, and were not asked for once more. */
  cut: readonly string[]
  /**
   * What went wrong last, with its class and code, until something is asked again. Of what fails
   * its own requests, `useChat` keeps the message only. What broke the last answer off is told
   * again after a reload.
   */
  error: Error | undefined
}

export interface DurableTransport {
  /** To be spread into the options of `useChat`. */
  durableSession: {
    threadId: string
    connection: ResumableConnectConnectionAdapter
    persistence: ChatClientPersistence
  }
  /**
   * A hook, to be called beside `useChat` with what it returned: with it the `stop` of `useChat`
   * stops the model, and other tabs of this browser follow what is asked in one.
   */
  useDurability: (chat: DurableChat) => Durability
  /**
   * Stop the model, whether this page, an earlier one or another tab has asked it.
   *
   * @throws GenerationError when the proxy could not be told.
   */
  stop: (options?: StopOptions) => Promise<Stopped>
  /** Stop the model and forget all messages, in every tab. */
  clearSession: () => Promise<void>
}

/** Between two writes of messages that grow. */
const SAVE_EVERY_MS = 300
const NOTHING_WRONG = { isStopped: false, error: undefined }
/** Stored messages wait for the page to be mounted, or for this long where no hook tells that. */
const MOUNT_WAIT_MS = 250

/**
 * A durable session for `useChat`: it survives reloads, lost connections and restarts.
 *
 *     const { durableSession, useDurability } = durableTransport('chat-1', { proxyUrl }, { api })
 *     const chat = useChat(durableSession)
 *     useDurability(chat)
 *
 * Call `durableTransport` once for a session, outside of the component. Stored messages appear when
 * the component is mounted, so that the first render is that of the server.
 *
 * @param sessionId Any text; it names the conversation.
 * @param fetchOptions Where the durable proxy is.
 * @param request Where the chat's requests go.
 * @param options How long things are kept.
 */
export function durableTransport(
  sessionId: string,
  fetchOptions: DurableFetchOptions,
  request: ChatRequestInit = {},
  options: DurableOptions = {},
): DurableTransport {
  const durable = new DurableSession(sessionId, fetchOptions, request, options)
  return {
    durableSession: {
      threadId: sessionId,
      connection: durable.connection,
      persistence: durable.persistence,
    },
    useDurability(chat) {
      const latest = useRef(chat)
      useEffect(() => void (latest.current = chat))
      useEffect(() => durable.mount(latest), [durable])
      useEffect(() => durable.settle(), [durable, chat.isLoading])
      return useSyncExternalStore(durable.subscribe, durable.snapshot, durable.snapshot)
    },
    stop: (told) => durable.stop(told),
    clearSession: () => durable.clear(),
  }
}

/** What is stored of a session. */
interface Saved extends ChatPersistedState {
  pending?: Pending<UIMessage> | undefined
  cut?: readonly string[]
}

class DurableSession {
  readonly connection: ResumableConnectConnectionAdapter
  readonly persistence: ChatClientPersistence
  readonly #session: string
  readonly #fetch
  readonly #ttl: number | undefined
  readonly #store: ChatStore<UIMessage>
  /** What ended the body of a run, which the SDK wraps, or forgets over attempts to reconnect. */
  readonly #ends = new Map<string, unknown>()
  /** Runs of this tab's own useChat. */
  #running = 0
  /** Until what broke off before this page was opened has been read once more. */
  #reread: { requestId: string; isOver: Promise<void>; end: () => void } | undefined

  #page: { readonly current: DurableChat } | undefined
  /** Changes whenever a page that was mounted leaves. */
  #epoch = 0
  #tabs: Tabs<UIMessage> | undefined
  readonly #isMounted: Promise<void>
  #mounted = () => {}

  /** What another tab has sent last. */
  #sent: UIMessage[] | undefined
  #state: Durability = { isFollowing: false, cut: [], ...NOTHING_WRONG }
  readonly #listeners = new Set<() => void>()

  #unsaved: ChatPersistedState | undefined
  #saving: ReturnType<typeof setTimeout> | undefined
  /** A run that has come to its good end; it is awaited until all of it is shown and saved. */
  #complete: string | undefined

  constructor(
    private readonly threadId: string,
    fetchOptions: DurableFetchOptions,
    { api = '/api/chat', ...request }: ChatRequestInit,
    { messages, activeGeneration }: DurableOptions,
  ) {
    this.#session = wireId(threadId)
    this.#ttl = messages?.ttlMs
    this.#fetch = createDurableFetch({ activeTtlMs: activeGeneration?.ttlMs, ...fetchOptions })
    this.#store = new ChatStore(this.#fetch.sessions, this.#session, this.#ttl)
    this.#isMounted = new Promise((resolve) => (this.#mounted = resolve))
    const fetchClient: typeof fetch = (input, init) => this.#send(input, init)
    const sse = fetchServerSentEvents(api, () => ({
      ...request,
      fetchClient,
      reconnect: { maxAttempts: 0 }, // the fetch client has done all that can be done
    }))
    this.connection = {
      connect: (sent, data, signal, run) => {
        const messages = sent as UIMessage[]
        const ask = () => {
          this.#save()
          this.#tell({ cut: this.#cutBefore(messages) })
          if (run?.runId !== undefined) this.#store.sent(run.runId, messages)
          this.#write(this.#saved)
          this.#tabs?.tell({ kind: 'sent', messages })
          return this.#run(sse.connect(sent, data, signal, run), run?.runId, signal)
        }
        const lost = this.#lostRun(messages)
        if (lost === undefined) return ask()
        return this.#joinOrAsk(this.#run(sse.joinRun(lost, signal), lost, signal), ask)
      },
      joinRun: (runId, signal) => this.#run(this.#join(sse, runId, signal), runId, signal),
    }
    this.persistence = {
      getItem: () => this.#load(),
      setItem: (_, state) => this.#saveSoon(state),
      removeItem: () => this.#saveSoon({ messages: [] }),
    }
  }

  // ---------------------------------------------------------------- requests

  async #send(input: RequestInfo | URL, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers)
    const starts = init.method === 'POST'
    const runId = starts
      ? headers.get('x-run-id')
      : new URL(String(input), 'http://any').searchParams.get('runId')
    const ended = this.#ends.get(runId ?? '')
    if (ended !== undefined) throw ended
    headers.set('X-Session-ID', this.#session)
    if (runId !== null) headers.set('X-Request-ID', runId)
    if (!starts) {
      headers.set('X-Resume-Active-Generation', 'true')
      headers.set('X-Replay-From-Start', 'true')
    }
    const response = await readable(await this.#fetch(input, { ...init, headers }))
    if (response.status === 204) throw new GenerationNotFound()
    if (starts) this.#tabs?.tell({ kind: 'began', requestId: runId ?? undefined })
    return this.#noted(response, runId ?? '')
  }

  /** The response, whose body's end is noted when it is an error. */
  #noted(response: Response, runId: string): Response {
    const reader = response.body?.getReader()
    if (reader === undefined) return response
    const body = new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          try {
            const { done, value } = await reader.read()
            if (done) controller.close()
            else controller.enqueue(value)
          } catch (error) {
            if (error instanceof DurableError) this.#ends.set(runId, error)
            controller.error(error)
          }
        },
        cancel: (reason) => reader.cancel(reason),
      },
      { highWaterMark: 0 },
    )
    const { status, headers } = response
    return new Response(body, { status, headers })
  }

  async *#join(
    sse: ResumableConnectConnectionAdapter,
    runId: string,
    signal?: AbortSignal,
  ): AsyncGenerator<StreamChunk> {
    // The SDK lets go of a run that says nothing for two seconds, and models think for longer.
    yield { type: 'CUSTOM', name: 'durable.joining', value: { runId } } as unknown as StreamChunk
    let base = this.#store.baseOf(runId)
    for await (const chunk of sse.joinRun(runId, signal)) {
      if (base !== undefined) {
        // All is written anew from here on. By itself the SDK would drop the last message of the
        // assistant, which holds the tool call when it is an approval that was answered.
        yield { type: 'MESSAGES_SNAPSHOT', messages: base.map(revived) } as unknown as StreamChunk
        base = undefined
      }
      yield chunk
    }
  }

  /** The run that we lost with the proxy, if these messages ask for the same once more. */
  #lostRun(sent: UIMessage[]): string | undefined {
    const { pending } = this.#store.load()
    if (pending === undefined || !(this.#state.error instanceof ProxyError)) return undefined
    const isSame = pending.count === sent.length && pending.last?.id === sent.at(-1)?.id
    return isSame ? pending.requestId : undefined
  }

  /** The chunks of a run that went on without us; those of a new one where the proxy has none. */
  async *#joinOrAsk(
    joined: AsyncIterable<StreamChunk>,
    ask: () => AsyncIterable<StreamChunk>,
  ): AsyncGenerator<StreamChunk> {
    try {
      yield* joined
    } catch (error) {
      if (!(error instanceof GenerationNotFound)) throw error
      yield* ask()
    }
  }

  /** The chunks of a run: what stops it ends it, what breaks it is thrown as it is. */
  async *#run(
    chunks: AsyncIterable<StreamChunk>,
    runId = '',
    signal?: AbortSignal,
  ): AsyncGenerator<StreamChunk> {
    const stopListening = this.#stopWhenAborted(runId, signal)
    this.#running += 1
    this.#tell(NOTHING_WRONG)
    let failed = false
    try {
      for await (const chunk of chunks) {
        if (chunk.type === 'RUN_ERROR') {
          failed = true
          this.#tell({ error: new Error(chunk.message) })
        }
        yield chunk
      }
      // A run that is left by its abort ends as well.
      if (!failed && signal?.aborted !== true) this.#complete = runId
    } catch (error) {
      const cause = this.#ends.get(runId) ?? causeOf(error)
      if (!(cause instanceof GenerationAborted)) {
        if (cause instanceof DurableError) this.#tell({ error: cause })
        throw cause
      }
      this.#tell({ isStopped: true })
      const { threadId } = this
      yield { type: 'RUN_FINISHED', threadId, runId, timestamp: Date.now() } as StreamChunk
    } finally {
      this.#running -= 1
      if (runId === this.#reread?.requestId) this.#reread.end()
      stopListening()
      this.#ends.delete(runId)
    }
  }

  /**
   * `useChat` aborts a run when its stop is called, and when it is unmounted. In the second case
   * the hook beside it is unmounted in the same moment.
   */
  #stopWhenAborted(runId: string, signal: AbortSignal | undefined): () => void {
    const aborted = () => {
      const epoch = this.#epoch
      setTimeout(() => {
        if (this.#page === undefined || epoch !== this.#epoch) return
        this.#tell({ isStopped: true })
        this.#fetch.stop(this.#session, { requestId: runId }).catch((error: Error) => {
          this.#tell({ error })
        })
      }, 0)
    }
    signal?.addEventListener('abort', aborted)
    return () => {
      // A loop that is left by the abort itself ends here, after `aborted`.
      signal?.removeEventListener('abort', aborted)
    }
  }

  // ---------------------------------------------------------------- what is stored

  get #saved(): Saved | undefined {
    return this.#fetch.sessions.messages<Saved>(this.#session, this.#ttl)
  }

  #write(saved: Saved | undefined): void {
    this.#fetch.sessions.saveMessages(this.#session, { ...saved, cut: this.#state.cut })
  }

  /** As it is stored, which another tab may have done. */
  get #cut(): readonly string[] {
    const cut = this.#saved?.cut
    return Array.isArray(cut) ? cut : []
  }

  /** The answers that have broken off, once these messages are sent. */
  #cutBefore(sent: UIMessage[]): readonly string[] {
    const { pending } = this.#store.load()
    if (pending === undefined || pending.requestId === this.#complete) return this.#cut
    // When the same is asked once more, there is nothing after it.
    const answer = sent.slice(pending.count).find(({ role }) => role === 'assistant')
    return answer === undefined ? this.#cut : [...this.#cut, answer.id]
  }

  async #load(): Promise<ChatPersistedState | null> {
    const timer = setTimeout(this.#mounted, MOUNT_WAIT_MS)
    await this.#isMounted
    clearTimeout(timer)
    const saved = this.#saved
    this.#tell({ cut: this.#cut })
    const messages = this.#store.open().map(revived)
    const interrupts = saved?.resume?.pendingInterrupts ?? []
    if (saved?.resume !== undefined && interrupts.length > 0) {
      return { messages, resume: saved.resume }
    }
    // An answer that has not come to its end here is read once more: only the proxy knows how it ended.
    const { pending } = this.#store.load()
    const active = this.#fetch.remembered(this.#session)?.requestId
    const runId = active ?? pending?.requestId
    if (runId === undefined) return { messages }
    if (active === undefined) this.#reread ??= { requestId: runId, ...aWait() }
    return { messages, resume: { resumeState: { threadId: this.threadId, runId } } }
  }

  #saveSoon(state: ChatPersistedState): void {
    const first = this.#saving === undefined
    this.#unsaved = state
    if (!first) return
    this.#save()
    this.#saving = setTimeout(() => {
      this.#saving = undefined
      this.#save()
    }, SAVE_EVERY_MS)
  }

  #save(): void {
    const isShown = this.#page?.current.isLoading !== true // the SDK takes its time
    const { pending } = this.#store.load()
    const isOver = isShown && pending !== undefined && pending.requestId === this.#complete
    if (this.#unsaved === undefined && !isOver) return
    const state = this.#unsaved ?? this.#saved ?? { messages: [] }
    this.#write({ ...state, pending: isOver ? undefined : pending })
    this.#unsaved = undefined
  }

  /** What is shown may be a whole answer, which is not awaited any more. */
  settle(): void {
    if (this.#complete !== undefined) this.#save()
  }

  // ---------------------------------------------------------------- the page, and other tabs

  /** The page is there; returns what is to be done when it leaves. */
  mount(page: { readonly current: DurableChat }): () => void {
    this.#page = page
    this.#mounted()
    void this.#followOthers()
    this.#tabs = new Tabs<UIMessage>(`durable-ai:${this.#session}`, (message) => {
      if (this.#running > 0) return
      if (message.kind === 'began') void this.#follow(message.requestId)
      else {
        this.#tell({ ...NOTHING_WRONG, cut: this.#cut })
        if (message.kind === 'sent') page.current.setMessages((this.#sent = message.messages))
        else page.current.clear()
      }
    })
    const leaving = () => this.#save()
    document.addEventListener('visibilitychange', leaving)
    return () => {
      this.#epoch += 1
      this.#save()
      this.#page = undefined
      this.#sent = undefined
      this.#tabs?.close()
      this.#tabs = undefined
      document.removeEventListener('visibilitychange', leaving)
    }
  }

  /** Follow what another browser has asked; what was asked here is resumed by `useChat`. */
  async #followOthers(): Promise<void> {
    const epoch = this.#epoch
    try {
      if (this.#fetch.remembered(this.#session) !== undefined) return
      const running = await this.#fetch.active(this.#session)
      if (running.length > 0) await this.#reread?.isOver
      if (epoch === this.#epoch && this.#running === 0) await this.#follow(running.at(-1)?.requestId)
    } catch (error) {
      if (epoch === this.#epoch) this.#tell({ error: error as Error })
    }
  }

  /** Show what is answered to others. `useChat` has no way to be told of it. */
  async #follow(runId: string | undefined): Promise<void> {
    const page = this.#page
    if (runId === undefined || page === undefined) return
    this.#tell({ isFollowing: true, ...NOTHING_WRONG })
    const left = new AbortController()
    const epoch = this.#epoch
    const processor = new StreamProcessor({
      initialMessages: this.#sent ?? page.current.messages,
      events: { onMessagesChange: (messages) => page.current.setMessages(messages) },
    })
    processor.prepareAssistantMessage()
    try {
      for await (const chunk of this.connection.joinRun(runId, left.signal)) {
        if (epoch !== this.#epoch) break
        processor.processChunk(chunk)
      }
      processor.finalizeStream()
      this.settle()
    } catch (error) {
      this.#tell({ error: error as Error })
    } finally {
      left.abort()
      this.#tell({ isFollowing: false })
    }
  }

  stop(told?: StopOptions): Promise<Stopped> {
    return this.#fetch.stop(this.#session, told)
  }

  async clear(): Promise<void> {
    await this.stop()
    this.#page?.current.clear()
    this.#unsaved = undefined
    this.#fetch.clear(this.#session)
    this.#tell({ ...NOTHING_WRONG, cut: [] })
    this.#tabs?.tell({ kind: 'cleared' })
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  readonly snapshot = (): Durability => this.#state

  #tell(changes: Partial<Durability>): void {
    this.#state = { ...this.#state, ...changes }
    for (const listener of this.#listeners) listener()
  }
}

function aWait(): { isOver: Promise<void>; end: () => void } {
  let end = () => {}
  const isOver = new Promise<void>((resolve) => (end = resolve))
  return { isOver, end }
}

function causeOf(error: unknown): unknown {
  return error instanceof Error && error.cause instanceof DurableError ? error.cause : error
}

/** A message as it was before it was JSON. */
function revived(message: UIMessage): UIMessage {
  const { createdAt } = message as { createdAt?: Date | string }
  return createdAt === undefined ? message : { ...message, createdAt: new Date(createdAt) }
}
