/**
 * Writes that are shown at once, sent in order, and kept until the service has answered.
 *
 * queued ──taken──► sent ──is in the view──► gone
 *   │ ▲
 *   │ └─ unreachable, or the page was left: sent again; by its id it counts once
 *   └──refused──► refused, until it is sent again or dismissed
 *
 * What is not sent yet is in the storage too, each write under a key of its own, so that tabs do not
 * overwrite each other's. A storage that is full, corrupt or forbidden costs only that.
 */

import { SessionError, asSessionError } from './errors.js'
import { Pause } from './retry.js'
import type { AgentSpec, Role } from './types.js'

interface WriteBase {
  readonly id: string
  /** ISO 8601, by this machine's clock. */
  readonly createdAt: string
}
export interface MessageWrite extends WriteBase {
  readonly kind: 'message'
  readonly content: string
  readonly role: Role
  /** Is asked to answer, instead of the session's. Its headers are not kept in the storage. */
  readonly agent?: AgentSpec | undefined
}
export interface ToolResultWrite extends WriteBase {
  readonly kind: 'tool-result'
  readonly toolCallId: string
  readonly output: unknown
  readonly error: string | null
}
export interface ApprovalWrite extends WriteBase {
  readonly kind: 'approval'
  readonly approvalId: string
  readonly approved: boolean
}
/** Something that this client wants to be in the session. */
export type Write = MessageWrite | ToolResultWrite | ApprovalWrite

/** A write that the service has refused, and that nobody has dealt with yet. */
export interface RefusedWrite {
  readonly write: Write
  readonly error: SessionError
}

/** What of `Storage` is used. */
export type KeyValueStorage = Pick<Storage, 'getItem' | 'setItem' | 'removeItem' | 'key' | 'length'>

export interface OutboxOptions {
  /** Sends one. */
  readonly send: (write: Write) => Promise<void>
  /** The view shows it. */
  readonly isLogged: (write: Write) => boolean
  /** What is in here has changed. */
  readonly onChange: () => void
  readonly onRefused: (refused: RefusedWrite) => void
  readonly storage: KeyValueStorage | null
  /** Beginning of the keys in the storage. */
  readonly prefix: string
  /** Milliseconds to wait after a failure; the first attempt is 0. */
  readonly backoff: (attempt: number) => number
}

type Entry = {
  readonly write: Write
  state: 'queued' | 'sent' | 'refused'
  /** Milliseconds since the epoch. */
  sentAt: number
  error?: SessionError
  settle?: { resolve: () => void; reject: (error: SessionError) => void }
}

const SEEN_WITHIN = 10_000

export class Outbox {
  readonly #options: OutboxOptions
  readonly #entries = new Map<string, Entry>()
  #isOpen = false
  #isSending = false
  readonly #pause = new Pause()

  constructor(options: OutboxOptions) {
    this.#options = options
  }

  /** Writes that are shown: on their way, in order. */
  get pending(): Write[] {
    return [...this.#entries.values()].filter((one) => one.state !== 'refused').map((one) => one.write)
  }

  get refused(): RefusedWrite[] {
    const found: RefusedWrite[] = []
    for (const { write, error } of this.#entries.values()) if (error) found.push({ write, error })
    return found
  }

  /** Take up what an earlier page has left in the storage. */
  restore(): void {
    const left = readAll(this.#options).filter(({ write }) => !this.#entries.has(write.id))
    for (const { write, refused } of left) {
      this.#entries.set(write.id, refused ? { write, state: 'refused', sentAt: 0, error: errorOf(refused) } : { write, state: 'queued', sentAt: 0 })
    }
    if (left.length > 0) this.#options.onChange()
  }

  /** Queue a write. The promise ends when the service has taken or refused it. */
  add(write: Write): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#entries.set(write.id, { write, state: 'queued', sentAt: 0, settle: { resolve, reject } })
      save(this.#options, { write })
      this.#options.onChange()
      void this.#sendAll()
    })
  }

  /** Send what is queued, and what will be. */
  open(): void {
    this.#isOpen = true
    this.hurry()
    void this.#sendAll()
  }

  /** Send no more for now. */
  hold(): void {
    this.#isOpen = false
    this.#pause.end()
  }

  /** As `hold`; who waits for a write hears that it is kept. */
  close(): void {
    this.hold()
    for (const entry of this.#entries.values()) {
      if (entry.state !== 'queued') continue
      entry.settle?.reject(new SessionError('closed', 'it is sent when the session is connected again'))
      delete entry.settle
    }
  }

  /** Do not wait before trying again. */
  hurry(): void {
    this.#pause.end()
  }

  /** Drop what has come back: to be called when the view shows something new. */
  dropLogged(): void {
    const before = this.#entries.size
    for (const entry of this.#entries.values()) if (this.#isDone(entry)) this.#forget(entry)
    if (this.#entries.size !== before) this.#options.onChange()
  }

  #isDone({ write, state, sentAt }: Entry): boolean {
    if (state === 'refused') return false
    // A message is this one and no other, even if its answer is lost, or is slower than the view.
    if (state === 'queued') return write.kind === 'message' && this.#options.isLogged(write)
    // What the view never shows, because somebody took it back at once, is not shown for ever either.
    return this.#options.isLogged(write) || Date.now() - sentAt > SEEN_WITHIN
  }

  #forget(entry: Entry): void {
    this.#entries.delete(entry.write.id)
    remove(this.#options, entry.write.id)
    entry.settle?.resolve()
  }

  /** Send a refused write again. */
  resend(id: string): void {
    const entry = this.#entries.get(id)
    if (entry?.state !== 'refused') return
    this.#entries.delete(id) // It goes to the end of the queue.
    this.#entries.set(id, { write: entry.write, state: 'queued', sentAt: 0 })
    save(this.#options, { write: entry.write })
    this.#options.onChange()
    void this.#sendAll()
  }

  /** Forget a refused write. */
  dismiss(id: string): void {
    if (this.#entries.get(id)?.state !== 'refused') return
    this.#entries.delete(id)
    remove(this.#options, id)
    this.#options.onChange()
  }

  #next(): Entry | undefined {
    for (const entry of this.#entries.values()) if (entry.state === 'queued') return entry
    return undefined
  }

  async #sendAll(): Promise<void> {
    if (this.#isSending) return
    this.#isSending = true
    let attempt = 0
    for (let entry = this.#next(); this.#isOpen && entry !== undefined; entry = this.#next()) {
      try {
        await this.#options.send(entry.write)
        attempt = 0
        this.#sent(entry)
      } catch (cause) {
        const error = asSessionError(cause)
        if (error.isTransient) {
          await this.#pause.for(Math.max(error.retryAfter ?? 0, this.#options.backoff(attempt++)))
        } else {
          this.#refused(entry, error)
        }
      }
    }
    this.#isSending = false
  }

  #sent(entry: Entry): void {
    entry.state = 'sent'
    entry.sentAt = Date.now()
    remove(this.#options, entry.write.id)
    entry.settle?.resolve()
    if (this.#isDone(entry)) this.#forget(entry)
    this.#options.onChange()
  }

  #refused(entry: Entry, error: SessionError): void {
    entry.state = 'refused'
    entry.error = error
    const { kind, detail, status, code } = error
    save(this.#options, { write: entry.write, refused: { kind, detail, status, code } })
    entry.settle?.reject(error)
    this.#options.onChange()
    this.#options.onRefused({ write: entry.write, error })
  }
}

// -------------------------------------------------------------------- the storage

type Kept = Pick<OutboxOptions, 'storage' | 'prefix'>
type Refusal = Pick<SessionError, 'kind' | 'detail' | 'status' | 'code'>
interface Stored {
  readonly write: Write
  readonly refused?: Refusal
}

function errorOf({ kind, detail, status, code }: Refusal): SessionError {
  return new SessionError(kind, detail, { status, code })
}

function save({ storage, prefix }: Kept, stored: Stored): void {
  try {
    storage?.setItem(prefix + stored.write.id, JSON.stringify({ ...stored, write: withoutSecrets(stored.write) }))
  } catch {
    // Full or forbidden: the write is sent all the same, as long as the page lives.
  }
}

function withoutSecrets(write: Write): Write {
  if (write.kind !== 'message' || write.agent === undefined) return write
  const { headers: _, ...agent } = write.agent
  return { ...write, agent }
}

function remove({ storage, prefix }: Kept, id: string): void {
  try {
    storage?.removeItem(prefix + id)
  } catch {
    // What stays is sent again by the next page, and counts once by its id.
  }
}

function readAll({ storage, prefix }: Kept): Stored[] {
  if (storage === null) return []
  const found: Stored[] = []
  try {
    const keys = Array.from({ length: storage.length }, (_, index) => storage.key(index))
    for (const key of keys) {
      if (!key?.startsWith(prefix)) continue
      const stored = parsed(storage.getItem(key))
      if (stored === undefined || prefix + stored.write.id !== key) storage.removeItem(key)
      else found.push(stored)
    }
  } catch {
    // Forbidden: nothing was kept.
  }
  return found.sort((a, b) => (a.write.createdAt < b.write.createdAt ? -1 : 1))
}

const TEXTS: Record<Write['kind'], readonly string[]> = {
  message: ['content', 'role'],
  'tool-result': ['toolCallId'],
  approval: ['approvalId'],
}

function parsed(text: string | null): Stored | undefined {
  try {
    const stored = JSON.parse(text ?? '') as { write?: Record<string, unknown> } | null
    const write = stored?.write ?? {}
    const needed = TEXTS[write['kind'] as Write['kind']]
    const isWhole = needed !== undefined && ['id', 'createdAt', ...needed].every((name) => typeof write[name] === 'string')
    return isWhole ? (stored as unknown as Stored) : undefined
  } catch {
    return undefined
  }
}
