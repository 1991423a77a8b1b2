/** The messages of a chat in the browser's storage. */

import type { Sessions } from './sessions.js'

/** What is saved of a chat. */
export interface SavedChat<M> {
  messages: M[]
  /** The request that was sent or followed last, until its answer is complete. */
  pending?: Pending<M> | undefined
}

/** A request, and the messages as they were before its answer: what a replay builds on. */
export interface Pending<M> {
  requestId: string
  /** How many messages there were. */
  count: number
  /** The last of them, which the answer may continue. */
  last: M | undefined
}

/** The same as it may be in a storage that others write to, too. */
interface Stored<M> {
  messages?: M[]
  pending?: Partial<Pending<M>> | null
}

/** The messages of one session. */
export class ChatStore<M> {
  /** As this page knows it, for a storage that has lost it: it was emptied, or the clock set back. */
  #pending: Pending<M> | undefined

  constructor(
    private readonly sessions: Sessions,
    private readonly session: string,
    private readonly ttl: number | undefined,
  ) {}

  /** The messages that a page begins with; `onStorage` is told when some could not be read. */
  open(): M[] {
    const { messages, damaged } = this.#read()
    if (damaged) this.sessions.onStorage('unreadable')
    return messages
  }

  load(): SavedChat<M> {
    const { messages, pending } = this.#read()
    return { messages, pending }
  }

  #read(): SavedChat<M> & { damaged: boolean } {
    const saved = this.sessions.messages<Stored<M> | null>(this.session, this.ttl)
    if (saved === undefined) return { messages: [], damaged: this.sessions.isDamaged(this.session) }
    const all = Array.isArray(saved?.messages) ? saved.messages : []
    const messages = all.filter(isMessage)
    const damaged = messages.length < all.length || all !== saved?.messages
    const { requestId, count, last } = saved?.pending ?? {}
    if (typeof requestId !== 'string' || !(count !== undefined && count <= all.length)) {
      return { messages, damaged }
    }
    const left = all.slice(0, count).filter(isMessage)
    const pending = { requestId, count: left.length, last: isMessage(last) ? last : left.at(-1) }
    return { messages, pending, damaged }
  }

  /** Messages are sent, or an answer to others is followed: what comes builds on them. */
  sent(requestId: string, messages: M[]): void {
    const pending = { requestId, count: messages.length, last: messages.at(-1) }
    this.#pending = pending
    this.sessions.saveMessages(this.session, { messages, pending })
  }

  /** The messages as they are now; `complete`: no answer is expected any more. */
  save(messages: M[], complete: boolean): void {
    if (complete) this.#pending = undefined
    const pending = complete ? undefined : (this.load().pending ?? this.#pending)
    this.sessions.saveMessages(this.session, { messages, pending })
  }

  /** No answer is expected any more: to any request, or to this one. */
  settle(requestId?: string): void {
    const { messages, pending } = this.load()
    if (pending === undefined || (requestId ?? pending.requestId) !== pending.requestId) return
    this.save(messages, true)
  }

  /** What the replay of a request builds on; undefined when it is new here. */
  baseOf(requestId: string | undefined): M[] | undefined {
    const { messages, pending } = this.load()
    if (pending === undefined || pending.requestId !== requestId) return undefined
    const { count, last } = pending
    return last === undefined ? [] : [...messages.slice(0, count - 1), last]
  }
}

/** Whether this has the shape of a message, of either SDK: what has not breaks the page. */
function isMessage(value: unknown): boolean {
  const { id, role, parts } = (value ?? {}) as Record<string, unknown>
  return typeof id === 'string' && typeof role === 'string' && Array.isArray(parts) && parts.every(isPart)
}

function isPart(value: unknown): boolean {
  const { type, text, content } = (value ?? {}) as Record<string, unknown>
  return typeof type === 'string' && (type !== 'text' || typeof (text ?? content) === 'string')
}
