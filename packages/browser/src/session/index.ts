/** Chat sessions that people and agents share. */

export { SessionError, type SessionErrorKind } from './errors.js'
export type { LogOptions, LogRow, LogSnapshot, SessionLog } from './log.js'
export type * from './options.js'
export type {
  ApprovalWrite,
  KeyValueStorage,
  MessageWrite,
  RefusedWrite,
  ToolResultWrite,
  Write,
} from './outbox.js'
export type { Timing } from './reader.js'
export type { HeaderSource, TokenSource } from './service.js'
export { DurableChatSession } from './session.js'
export type { SessionSnapshot } from './store.js'
export type * from './types.js'
