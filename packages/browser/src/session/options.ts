/** What a session is given, and what its methods take. */

import type { SessionError } from './errors.js'
import type { KeyValueStorage } from './outbox.js'
import type { Timing } from './reader.js'
import type { HeaderSource, TokenSource } from './service.js'
import type { ActorType, AgentSpec, ChatMessage, Role } from './types.js'

/** Who writes. */
export interface Actor {
  /** Where the service knows who asks, the name that it knows. Made up, and kept in the storage, when absent. */
  readonly id?: string | undefined
  /** Shown to others. */
  readonly name?: string | undefined
  readonly type?: ActorType | undefined
}

export interface DurableChatSessionOptions {
  readonly sessionId: string
  /** Of the session service: `http://...`, or a path of the page's own origin. */
  readonly url: string
  readonly actor?: Actor | undefined
  /** Is asked to answer every message of this client. */
  readonly agent?: AgentSpec | undefined
  /** For every request; a function is asked each time. */
  readonly headers?: HeaderSource | undefined
  /** Bearer token; a function is asked each time, and again when the service says 401. */
  readonly token?: TokenSource | undefined
  /** Make the session when it is not there (the default), or fail with `not_found`. */
  readonly create?: boolean | undefined
  /** Tell others that this actor is here: the default where there is a page. */
  readonly presence?: boolean | undefined
  /** What to show until the session has been read, such as what a server has rendered. */
  readonly initialMessages?: readonly ChatMessage[] | undefined
  /** Keeps what is not sent yet; `localStorage` when absent, nothing when `null`. */
  readonly storage?: KeyValueStorage | null | undefined
  readonly fetch?: typeof fetch | undefined
  readonly timing?: Partial<Timing> | undefined
}

/** What may change while the session is used. */
export type ChangeableOptions = Pick<DurableChatSessionOptions, 'agent' | 'headers' | 'token'> & {
  /** The actor's, shown to others. */
  readonly name?: string | undefined
}

export interface SessionEvents {
  /** An agent's message is complete, as of now. */
  finish: ChatMessage
  /** Something was refused, or the session cannot be read. */
  error: SessionError
}

export interface SendOptions {
  /** Under which sending it twice counts once; made up when absent. */
  readonly messageId?: string | undefined
  /** Is asked to answer, instead of the session's. */
  readonly agent?: AgentSpec | undefined
}

/** A message with any role, by its text. */
export interface AppendedMessage {
  readonly id?: string | undefined
  readonly role: Role
  readonly content?: string | undefined
  readonly parts?: readonly { readonly type: string; readonly content?: unknown; readonly text?: unknown }[] | undefined
}

export interface ToolResultInput {
  readonly toolCallId: string
  /** Any JSON. */
  readonly output?: unknown
  /** Why it failed. */
  readonly error?: string | undefined
}

export interface ApprovalResponseInput {
  /** Of the approval. */
  readonly id: string
  readonly approved: boolean
}

export interface ForkOptions {
  /** The last message that the new session has; all of them when absent. */
  readonly atMessageId?: string | undefined
  readonly newSessionId?: string | undefined
}

export interface Fork {
  readonly sessionId: string
  /** Where its own part begins. */
  readonly offset: string
}
