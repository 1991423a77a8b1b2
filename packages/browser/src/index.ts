/** Durable AI streams in a browser: a `fetch` whose answers survive. */

export { createDurableFetch } from './fetch.js'
export type { DurableFetch, DurableFetchOptions } from './fetch.js'
export type { GenerationInfo, StopOptions, Stopped } from './desk.js'
export {
  DurableError,
  GenerationAborted,
  GenerationError,
  GenerationFailed,
  GenerationNotFound,
  GenerationOrphaned,
  GenerationTimedOut,
  GenerationTooLarge,
  GenerationTruncated,
  InvalidProxyURL,
  NotADurableProxy,
  OffsetOutOfRange,
  ProxyError,
  ProxyProtocolError,
  ProxyRefused,
  ProxyUnreachable,
  UpstreamRejected,
  UpstreamUnreachable,
} from './errors.js'
export type { ConnectionState, Timing } from './link.js'
export type { TerminalPayload } from './protocol.js'
export type { ProxyHeaders } from './request.js'
export { ACTIVE_TTL_MS, MESSAGES_TTL_MS, Sessions } from './sessions.js'
export type { ActiveGeneration } from './sessions.js'
export { MemoryStorage, SafeStorage } from './storage.js'
export type { DurableStorage, StorageState } from './storage.js'
export { toUUID } from './uuid.js'
