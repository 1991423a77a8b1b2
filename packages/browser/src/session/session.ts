/** A chat session as a page has it: everything there is, live, and everything one can do. */

import { localStorageOrNone } from '../storage.js'
import { randomUUID } from '../uuid.js'
import { SessionError } from './errors.js'
import { Listeners, type Listener } from './listeners.js'
import { openLog, type LogOptions, type SessionLog } from './log.js'
import { Outbox, type KeyValueStorage, type Write } from './outbox.js'
import { isLogged } from './overlay.js'
import { watchPage } from './page.js'
import { Presence } from './presence.js'
import { Reader, TIMING } from './reader.js'
import { delayOf } from './retry.js'
import { OutOfStepError, type ViewRecord } from './rows.js'
import { Service, type Call } from './service.js'
import type {
  AppendedMessage,
  ApprovalResponseInput,
  ChangeableOptions,
  DurableChatSessionOptions,
  Fork,
  ForkOptions,
  SendOptions,
  SessionEvents,
  ToolResultInput,
} from './options.js'
import { Store, type SessionSnapshot, type Standing } from './store.js'
import type { ActorType, AgentSpec, ConnectionStatus, PresenceStatus } from './types.js'

const ACTOR_KEY = 'durable-ai:actor'

/**
 * A chat session.
 *
 * It follows the session from `connect` to `disconnect`. What is written is shown at once, sent in order,
 * sent again while the service is unreachable, and taken back when it is refused. A promise that nobody
 * waits for may fail: `error` says so, and the `error` event.
 *
 * @throws {SessionError} `invalid`: The address or the id cannot be one.
 */
export class DurableChatSession {
  readonly sessionId: string
  readonly url: string
  readonly actor: { readonly id: string; readonly type: ActorType }

  readonly #options: DurableChatSessionOptions
  readonly #service: Service
  readonly #outbox: Outbox
  readonly #presence: Presence
  readonly #reader: Reader
  readonly #store: Store
  readonly #handlers: { readonly [E in keyof SessionEvents]: Listeners<SessionEvents[E]> } = {
    finish: new Listeners(),
    error: new Listeners(),
  }
  readonly #finished = new Set<string>()
  #changeable: ChangeableOptions
  #status: ConnectionStatus = 'disconnected'
  #connectionError: SessionError | undefined
  #callError: SessionError | undefined
  #isReady = false
  #isPrepared = false
  #wantsCreation: boolean
  #waiting: { resolve: () => void; reject: (error: SessionError) => void }[] = []
  #unwatchPage: (() => void) | undefined

  constructor(options: DurableChatSessionOptions) {
    const timing = { ...TIMING, ...options.timing }
    const storage = options.storage === undefined ? (localStorageOrNone() ?? null) : options.storage
    this.#options = options
    this.#changeable = { ...options, name: options.actor?.name }
    this.#wantsCreation = options.create ?? true
    this.sessionId = options.sessionId
    this.url = options.url
    this.actor = { id: options.actor?.id ?? rememberedActor(storage), type: options.actor?.type ?? 'user' }
    this.#service = new Service({
      url: options.url,
      sessionId: options.sessionId,
      actorId: this.actor.id,
      fetch: options.fetch ?? ((input, init) => globalThis.fetch(input, init)),
      credentials: () => this.#changeable,
      patience: timing.patience,
    })
    this.#outbox = new Outbox({
      send: (write) => this.#send(write),
      isLogged: (write) => isLogged(this.#store.rows, write),
      onChange: () => this.#store.touchWrites(),
      onRefused: ({ error }) => this.#tell(error),
      storage,
      prefix: `durable-ai:outbox:${this.#service.sessionUrl}:${this.actor.id}:`,
      backoff: (attempt) => delayOf(attempt, timing),
    })
    this.#presence = new Presence({
      actorId: this.actor.id,
      actorType: this.actor.type,
      name: () => this.#changeable.name,
      call: (call) => this.#service.call(call),
      callAndLeave: (call) => this.#service.callAndLeave(call),
      every: timing.presence,
    })
    this.#reader = new Reader({
      open: (offset, signal) => this.#open(offset, signal),
      onRecords: (records, fresh) => this.#take(records, fresh),
      onConnected: () => this.#connected(),
      onInterrupted: (error) => this.#interrupted(error),
      onFailed: (error) => this.#failed(error),
      timing,
    })
    this.#store = new Store(this.actor.id, options.initialMessages ?? [], this.#outbox, () => this.#standing(), timing.notify)
    this.#store.listeners.add((before) => this.#announce(before))
  }

  // -------------------------------------------------------------------- what there is

  /** Everything as it is now; the same object until something changes. */
  getSnapshot = (): SessionSnapshot => this.#store.snapshot

  /** What a server renders, and a page begins with. */
  getInitialSnapshot = (): SessionSnapshot => this.#store.initial

  /** Be called when the snapshot is another one; the answer ends that. */
  subscribe = (listener: () => void): (() => void) => this.#store.listeners.add(listener)

  /** Be called at an event; the answer ends that. */
  on<E extends keyof SessionEvents>(event: E, handler: Listener<SessionEvents[E]>): () => void {
    return this.#handlers[event].add(handler)
  }

  /** Read the session's log row by row, for an inspector; it is yours to close. */
  openLog = (options?: LogOptions): SessionLog =>
    openLog(this.#service.logUrl, (input, init) => this.#service.send(String(input), init ?? {}), options)

  // -------------------------------------------------------------------- life

  /**
   * Follow the session; it is made when it is not there, unless `create` is `false`.
   *
   * @returns When all of it is shown.
   * @throws {SessionError} It cannot be read. When that is `unreachable`, it is tried on and on all the same.
   */
  connect = (): Promise<void> => {
    if (this.#status === 'connected') return Promise.resolve()
    const connected = new Promise<void>((resolve, reject) => this.#waiting.push({ resolve, reject }))
    if (!this.#reader.isRunning) this.#begin()
    return handled(connected)
  }

  /** Follow no more. What is not sent yet is sent when it is connected again, by this page or a later one. */
  disconnect = (): void => {
    this.#unwatchPage?.()
    this.#unwatchPage = undefined
    this.#reader.stop()
    this.#outbox.close()
    this.#presence.leave()
    this.#stand('disconnected')
    this.#settle(new SessionError('closed'))
  }

  /** Read no further for now. Writes are sent all the same. */
  pause = (): void => {
    if (!this.#reader.isRunning) return
    this.#reader.stop()
    this.#stand('paused')
  }

  /** Read on from where `pause` came. As `connect`. */
  resume = (): Promise<void> => this.connect()

  /**
   * Try again what had failed for good: a session that was not there, credentials that did not do.
   *
   * @param options - `create: true` makes the session when it is not there (any more).
   */
  retry = (options: { readonly create?: boolean } = {}): Promise<void> => {
    if (options.create !== undefined) {
      this.#wantsCreation = options.create
      this.#isPrepared = false
      this.#reader.rewind()
    }
    this.#callError = undefined
    this.#reader.hurry()
    this.#outbox.hurry()
    return this.connect()
  }

  /** Change what may change, such as the token; the next request has it. What is `undefined` stays. */
  update(options: ChangeableOptions): void {
    const wasCalled = this.#changeable.name
    const given = Object.entries(options).filter(([, value]) => value !== undefined)
    this.#changeable = { ...this.#changeable, ...Object.fromEntries(given) }
    if (this.#changeable.name !== wasCalled && this.#presence.status) this.#presence.tell(this.#presence.status)
  }

  #begin(): void {
    this.#unwatchPage ??= watchPage({
      onBack: () => this.#back(),
      onHidden: () => this.#presence.status === 'online' && this.#presence.tell('away'),
      onOffline: () => this.#reader.interrupt('the network is gone'),
      onLeave: () => this.#leave(),
    })
    this.#connectionError = undefined
    this.#stand('connecting')
    this.#outbox.restore()
    this.#reader.start()
  }

  /** A page that is kept for the way back keeps its connections, of which an origin has six: this one is given back. */
  #leave(): void {
    this.#presence.leave()
    this.#reader.stop()
  }

  #back(): void {
    this.#reader.hurry()
    this.#outbox.hurry()
    const isLeft = !this.#reader.isRunning && this.#status !== 'paused'
    if (this.#status === 'error' || isLeft) this.#begin()
    else if (this.#status === 'connected') this.#greet()
  }

  #greet(): void {
    const isWanted = this.#options.presence ?? typeof document !== 'undefined'
    const isLeft = this.#presence.status === undefined || this.#presence.status === 'away'
    const isSeen = typeof document === 'undefined' || document.visibilityState !== 'hidden'
    if (isWanted && isLeft) this.#presence.tell(isSeen ? 'online' : 'away')
  }

  // -------------------------------------------------------------------- writing

  /**
   * Send a message of the user's; agents answer it.
   *
   * @returns Its id, when the service has it.
   * @throws {SessionError} It was refused. It is among `refused`, to be sent again or dismissed.
   */
  sendMessage = (content: string, options: SendOptions = {}): Promise<string> =>
    this.append({ id: options.messageId, role: 'user', content }, options)

  /** Append a message with any role. The client's agent is asked to answer a user's message only. */
  append = (message: AppendedMessage, options: SendOptions = {}): Promise<string> => {
    const content = message.content ?? textOf(message.parts ?? [])
    if (content === '') return handled(Promise.reject(new SessionError('invalid', 'a message has some text')))
    return this.#write({
      kind: 'message',
      id: message.id ?? randomUUID(),
      content,
      role: message.role,
      createdAt: new Date().toISOString(),
      agent: options.agent,
    })
  }

  /** Give what a tool gave, or why it failed; the agent goes on when all its calls are answered. */
  addToolResult = ({ toolCallId, output = null, error }: ToolResultInput): Promise<string> =>
    this.#write({
      kind: 'tool-result',
      id: randomUUID(),
      toolCallId,
      output,
      error: error ?? null,
      createdAt: new Date().toISOString(),
    })

  /** Answer an approval; the agent goes on when all that it asked is answered. */
  addToolApprovalResponse = ({ id, approved }: ApprovalResponseInput): Promise<string> =>
    this.#write({ kind: 'approval', id: randomUUID(), approvalId: id, approved, createdAt: new Date().toISOString() })

  /** Send a refused write again. */
  resend = (writeId: string): void => this.#outbox.resend(writeId)

  /** Forget a refused write. */
  dismiss = (writeId: string): void => this.#outbox.dismiss(writeId)

  /** Show no more, here, of the messages that there are now. The session itself is as it was. */
  clear = (): void => this.#store.hideAll()

  #write(write: Write): Promise<string> {
    return handled(this.#outbox.add(write).then(() => write.id))
  }

  async #send(write: Write): Promise<void> {
    const isAsked = write.kind === 'message' && write.role === 'user'
    await this.#service.call(callOf(write, this.actor, isAsked ? this.#changeable.agent : undefined))
    this.#callError = undefined
  }

  // -------------------------------------------------------------------- asking the service

  /** Have the last message of a user answered again; what followed it goes. */
  reload = (): Promise<void> => {
    const last = [...this.getSnapshot().messages].reverse().find((one) => one.role === 'user' && !one.pending)
    return last === undefined ? Promise.resolve() : this.regenerate(last.id)
  }

  /**
   * Go back to a message and have it answered again, in other words if `content` is given. What
   * followed it goes, for everybody; so does the message itself when an agent has said it.
   */
  regenerate = (fromMessageId: string, options: { readonly content?: string } = {}): Promise<void> =>
    this.#ask({ method: 'POST', path: '/regenerate', body: { fromMessageId, ...options, ...this.#by() } })

  /** Stop what agents are saying: one message, or all. */
  stop = (messageId?: string): Promise<void> =>
    this.#ask({ method: 'POST', path: '/stop', body: { messageId: messageId ?? null } })

  /** Make a session that begins with this one's messages. */
  fork = (options: ForkOptions = {}): Promise<Fork> =>
    this.#ask<Fork>({ method: 'POST', path: '/fork', body: options })

  /** Have agents answer in the session. */
  registerAgents = (agents: readonly AgentSpec[]): Promise<void> =>
    this.#ask({ method: 'POST', path: '/agents', body: { agents } })

  /** Have an agent answer no more. */
  unregisterAgent = (agentId: string): Promise<void> =>
    this.#ask({ method: 'DELETE', path: `/agents/${encodeURIComponent(agentId)}` })

  /** Tell everybody how this actor is here; repeated until it is `offline`. */
  setPresence = (status: PresenceStatus): Promise<void> => handled(this.#presence.set(status))

  #by(): { actorId: string; actorType: ActorType } {
    return { actorId: this.actor.id, actorType: this.actor.type }
  }

  #ask<T = void>(call: Call): Promise<T> {
    const asking = this.#service.call(call).then(
      (answer) => {
        this.#callError = undefined
        this.#store.flush()
        return answer as T
      },
      (error: SessionError) => {
        this.#tell(error)
        throw error
      },
    )
    return handled(asking)
  }

  // -------------------------------------------------------------------- reading

  async #open(offset: string, signal: AbortSignal): Promise<Response> {
    if (this.#wantsCreation && !this.#isPrepared) await this.#create()
    this.#isPrepared = true
    const query = `offset=${encodeURIComponent(offset)}&live=sse`
    return this.#service.request(`${this.#service.sessionUrl}/view?${query}`, { signal, cache: 'no-store' })
  }

  async #create(): Promise<void> {
    try {
      await this.#service.call({ method: 'PUT', path: '' })
    } catch (error) {
      // Who may only take part reads what is there.
      if (!(error instanceof SessionError && error.kind === 'forbidden')) throw error
    }
  }

  #take(records: readonly ViewRecord[], fresh: boolean): void {
    const { rows } = this.#store
    try {
      rows.apply(records, fresh)
    } catch (error) {
      throw error instanceof OutOfStepError ? error : new SessionError('protocol', String(error), { cause: error })
    }
    this.#outbox.dropLogged()
    this.#presence.shownAs(rows.of('presence').get(this.actor.id))
    if (this.#isReady) this.#store.flushSoon()
  }

  #connected(): void {
    if (this.#status === 'connected') return
    this.#isReady = true
    this.#connectionError = undefined
    this.#stand('connected')
    this.#settle()
    this.#outbox.open()
    this.#greet()
  }

  #interrupted(error: SessionError): void {
    this.#connectionError = error
    this.#stand('connecting')
    this.#settle(error)
  }

  #failed(error: SessionError): void {
    this.#connectionError = error
    this.#outbox.hold()
    this.#stand('error')
    this.#settle(error)
    this.#handlers.error.tell(error)
  }

  // -------------------------------------------------------------------- telling

  #standing(): Standing {
    return {
      connectionStatus: this.#status,
      error: this.#connectionError ?? this.#callError,
      isReady: this.#isReady,
      offset: this.#reader.offset,
    }
  }

  #stand(status: ConnectionStatus): void {
    this.#status = status
    this.#store.flush()
  }

  #tell(error: SessionError): void {
    this.#callError = error
    this.#store.flush()
    this.#handlers.error.tell(error)
  }

  #settle(error?: SessionError): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const { resolve, reject } of waiting) {
      if (error === undefined) resolve()
      else reject(error)
    }
  }

  /** Tell of messages that are complete as of now; those that were there before are no news. */
  #announce(before: SessionSnapshot): void {
    const { messages } = this.getSnapshot()
    for (const [index, message] of messages.entries()) {
      if (message === before.messages[index] || message.role !== 'assistant') continue
      if (!message.isComplete) this.#finished.delete(message.id)
      else if (!this.#finished.has(message.id)) {
        this.#finished.add(message.id)
        if (before.isReady) this.#handlers.finish.tell(message)
      }
    }
  }
}

/** The promise; when it fails and nobody waits for it, that is no defect: `error` says so. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined)
  return promise
}

function callOf(write: Write, actor: { id: string; type: ActorType }, agent: AgentSpec | undefined): Call {
  switch (write.kind) {
    case 'message': {
      const { id: messageId, content, role } = write
      const body = { messageId, content, role, actorId: actor.id, actorType: actor.type, agent: write.agent ?? agent }
      return { method: 'POST', path: '/messages', body }
    }
    case 'tool-result': {
      const { id: messageId, toolCallId, output, error } = write
      return { method: 'POST', path: '/tool-results', body: { messageId, toolCallId, output, error } }
    }
    case 'approval': {
      const path = `/approvals/${encodeURIComponent(write.approvalId)}`
      return { method: 'POST', path, body: { approved: write.approved } }
    }
  }
}

function textOf(parts: NonNullable<AppendedMessage['parts']>): string {
  const texts = parts.map((part) => (part.type === 'text' ? (part.content ?? part.text) : ''))
  return texts.filter((text) => typeof text === 'string').join('')
}

/** The same browser is the same person, even after a refresh. */
function rememberedActor(storage: KeyValueStorage | null): string {
  try {
    const known = storage?.getItem(ACTOR_KEY)
    if (known && known.length <= 256) return known
    const made = randomUUID()
    storage?.setItem(ACTOR_KEY, made)
    return made
  } catch {
    return randomUUID() // Full or forbidden: somebody else after a refresh.
  }
}
