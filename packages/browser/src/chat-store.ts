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

/** The messages of one session. */
export class ChatStore<M> {
  constructor(
    private readonly sessions: Sessions,
    private readonly session: string,
    private readonly ttl: number | undefined,
  ) {}

  load(): SavedChat<M> {
    const saved = this.sessions.messages<Partial<SavedChat<M>>>(this.session, this.ttl)
    const messages = Array.isArray(saved?.messages) ? saved.messages : []
    const { pending } = saved ?? {}
    const valid = typeof pending?.requestId === 'string' && pending.count <= messages.length
    return { messages, pending: valid ? pending : undefined }
  }

  /** Messages are sent, or an answer to others is followed: what comes builds on them. */
  sent(requestId: string, messages: M[]): void {
    const pending = { requestId, count: messages.length, last: messages.at(-1) }
    this.sessions.saveMessages(this.session, { messages, pending })
  }

  /** The messages as they are now; `complete`: no answer is expected any more. */
  save(messages: M[], complete: boolean): void {
    const pending = complete ? undefined : this.load().pending
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
