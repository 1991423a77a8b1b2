/**
 * What can go wrong, as a map.
 *
 *     DurableError
 *     ├── InvalidProxyURL            the base URL cannot be one
 *     └── GenerationError            code, sessionId, requestId, offset, terminal
 *         ├── the generation ended, and not with success
 *         │   ├── GenerationFailed       the upstream broke off, or the log could not take all of it
 *         │   │   ├── GenerationTruncated    the upstream sent less than it had promised
 *         │   │   └── GenerationTooLarge     the upstream sent more than the proxy takes
 *         │   ├── GenerationAborted      somebody called stop
 *         │   ├── GenerationTimedOut     the upstream was silent, or did not end, for too long
 *         │   ├── GenerationOrphaned     the proxy that ran the generation is gone
 *         │   ├── UpstreamUnreachable    the proxy could not connect to the upstream
 *         │   └── UpstreamRejected       it answered with something that is no stream of a chat
 *         ├── it cannot be read
 *         │   ├── GenerationNotFound     its stream was deleted
 *         │   └── OffsetOutOfRange       its stream ends before our offset
 *         └── it may well go on: resume it
 *             ├── ProxyUnreachable       no answer from the proxy within the limit
 *             ├── ProxyRefused           the proxy answered, and said no
 *             ├── NotADurableProxy       something else answered
 *             └── ProxyProtocolError     the proxy's answer contradicts itself
 *
 * The names and codes are those of Python's `durable_transport`.
 */

import type { TerminalPayload } from './protocol.js'

/** Base of every error of this package. */
export class DurableError extends Error {
  override name = 'DurableError'
}

/** The base URL given as `proxyUrl` cannot be one. */
export class InvalidProxyURL extends DurableError {
  override name = 'InvalidProxyURL'

  constructor(url: string, reason: string) {
    super(
      `${JSON.stringify(url)} is not a proxy base URL: ${reason}. ` +
        'Use the address the proxy serves on, for example http://localhost:4000',
    )
  }
}

/** Where and how a generation ended, for the constructor of a `GenerationError`. */
export interface GenerationErrorInit {
  /** Stable, lower-case; that of the class when absent. */
  code?: string | undefined
  sessionId?: string
  requestId?: string
  /** Bytes of the body that were handed out, counted from the generation's start. */
  offset?: number
  /** The generation's last record, if it was read. */
  terminal?: TerminalPayload | undefined
  cause?: unknown
}

/**
 * A generation did not come to a good end, or it cannot be read any further.
 *
 * `message` is a plain sentence for the people who use the page; `detail` is what was seen.
 */
export class GenerationError extends DurableError {
  static readonly code: string = 'generation_error'
  static readonly summary: string = 'The answer could not be completed.'
  override name = 'GenerationError'
  readonly code: string
  readonly detail: string
  readonly sessionId: string
  readonly requestId: string
  readonly offset: number
  readonly terminal: TerminalPayload | undefined

  constructor(detail = '', init: GenerationErrorInit = {}) {
    const { code, summary } = new.target
    super(detail ? `${summary} (${detail})` : summary, { cause: init.cause })
    this.name = new.target.className
    this.code = init.code ?? code
    this.detail = detail
    this.sessionId = init.sessionId ?? ''
    this.requestId = init.requestId ?? ''
    this.offset = init.offset ?? 0
    this.terminal = init.terminal
  }

  // A minifier renames classes, and `name` is what logs and `switch` statements go by.
  protected static readonly className: string = 'GenerationError'

  /** Why it ended: one word of the proxy's, or what whoever stopped it said. */
  get reason(): string | undefined {
    return this.terminal?.reason ?? undefined
  }

  /** Who stopped it. */
  get actor(): string | undefined {
    return this.terminal?.actor ?? undefined
  }
}

/** The upstream broke off, sent less than it had promised, or could not be recorded. */
export class GenerationFailed extends GenerationError {
  static override readonly code: string = 'upstream_error'
  static override readonly summary: string = 'The model broke off in the middle of the answer.'
  protected static override readonly className: string = 'GenerationFailed'
}

/** The upstream sent less than it had promised. */
export class GenerationTruncated extends GenerationFailed {
  static override readonly code: string = 'upstream_truncated'
  static override readonly summary: string = 'The model ended its answer too early.'
  protected static override readonly className: string = 'GenerationTruncated'
}

/** The upstream sent more than the proxy takes; what it takes was handed out. */
export class GenerationTooLarge extends GenerationFailed {
  static override readonly code: string = 'too_large'
  static override readonly summary: string = 'The answer is longer than the server keeps.'
  protected static override readonly className: string = 'GenerationTooLarge'
}

/** Somebody called stop. */
export class GenerationAborted extends GenerationError {
  static override readonly code: string = 'aborted'
  static override readonly summary: string = 'The answer was stopped.'
  protected static override readonly className: string = 'GenerationAborted'
}

/** The upstream was silent, or did not come to an end, for longer than the proxy allows. */
export class GenerationTimedOut extends GenerationError {
  static override readonly code: string = 'upstream_timeout'
  static override readonly summary: string = 'The model did not answer in time.'
  protected static override readonly className: string = 'GenerationTimedOut'
}

/** The proxy that ran the generation is gone; nothing more will come. */
export class GenerationOrphaned extends GenerationError {
  static override readonly code: string = 'orphaned'
  static override readonly summary: string =
    'The server restarted in the middle of the answer. Please try again.'
  protected static override readonly className: string = 'GenerationOrphaned'
}

/** The proxy could not connect to the upstream: no generation was started. */
export class UpstreamUnreachable extends GenerationError {
  static override readonly code: string = 'upstream_unreachable'
  static override readonly summary: string = 'The server cannot reach the model.'
  protected static override readonly className: string = 'UpstreamUnreachable'
}

/** The upstream answered with something that is no stream of a chat: a page of HTML. */
export class UpstreamRejected extends GenerationError {
  static override readonly code: string = 'upstream_rejected'
  static override readonly summary: string = 'The chat backend answered with something else than a chat.'
  protected static override readonly className: string = 'UpstreamRejected'
}

/** The generation's stream does not exist (any more). */
export class GenerationNotFound extends GenerationError {
  static override readonly code: string = 'stream_not_found'
  static override readonly summary: string = 'The answer does not exist any more.'
  protected static override readonly className: string = 'GenerationNotFound'
}

/** The stream ends before our offset: it was made anew, or the store was restored. */
export class OffsetOutOfRange extends GenerationError {
  static override readonly code: string = 'offset_out_of_range'
  static override readonly summary: string =
    'The stored position is past the end of the answer; replay it from its start.'
  protected static override readonly className: string = 'OffsetOutOfRange'
}

/** The proxy, or what answers in its place. The generation itself may well go on. */
export class ProxyError extends GenerationError {
  static override readonly code: string = 'proxy_error'
  static override readonly summary: string = 'The chat server cannot be used.'
  protected static override readonly className: string = 'ProxyError'
}

/** No usable answer from the proxy for as long as we keep trying. */
export class ProxyUnreachable extends ProxyError {
  static override readonly code: string = 'proxy_unreachable'
  static override readonly summary: string =
    'The chat server cannot be reached. Check the connection and try again.'
  protected static override readonly className: string = 'ProxyUnreachable'
}

/** The proxy said no, for example because the credentials have expired. */
export class ProxyRefused extends ProxyError {
  static override readonly code: string = 'proxy_refused'
  static override readonly summary: string = 'The chat server refused the request.'
  protected static override readonly className: string = 'ProxyRefused'
}

/** Something answered that is not a durable proxy. */
export class NotADurableProxy extends ProxyError {
  static override readonly code: string = 'not_a_durable_proxy'
  static override readonly summary: string =
    'The answer is not from a durable proxy. Check that proxyUrl is the address of the proxy ' +
    'itself, without /api at its end, that nothing in between answers in its place, and, for a ' +
    'proxy of another origin, that its --cors-origin names this page.'
  protected static override readonly className: string = 'NotADurableProxy'
}

/** The proxy's answer contradicts itself or the protocol. */
export class ProxyProtocolError extends ProxyError {
  static override readonly code: string = 'proxy_protocol'
  static override readonly summary: string = 'The chat server sent an answer that makes no sense.'
  protected static override readonly className: string = 'ProxyProtocolError'
}

/** A class of errors, for those who choose one. */
export type GenerationErrorClass = new (
  detail?: string,
  init?: GenerationErrorInit,
) => GenerationError

const BY_CODE: Record<string, GenerationErrorClass> = {
  aborted: GenerationAborted,
  generation_aborted: GenerationAborted,
  upstream_truncated: GenerationTruncated,
  too_large: GenerationTooLarge,
  orphaned: GenerationOrphaned,
  generation_lost: GenerationOrphaned,
  upstream_timeout: GenerationTimedOut,
  upstream_unreachable: UpstreamUnreachable,
}

/** The class for a terminal code; a code we do not know is a failure like any other. */
export function endedAs(code: string): GenerationErrorClass {
  return (Object.hasOwn(BY_CODE, code) && BY_CODE[code]) || GenerationFailed
}
