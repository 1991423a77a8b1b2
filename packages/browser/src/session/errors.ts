/**
 * What can go wrong with a session. One class; `kind` says which:
 *
 * | kind          | HTTP status   |                                                        |
 * | ------------- | ------------- | ------------------------------------------------------ |
 * | `invalid`     |               | the address or the id cannot be one                    |
 * | `not_found`   | 404           | no such session, or nothing of that id in it           |
 * | `gone`        | 410           | the session was deleted                                |
 * | `forbidden`   | 401, 403      | not with these credentials                             |
 * | `conflict`    | 409           | contradicts the state of the session                   |
 * | `refused`     | other 4xx     | refused, and would be again                            |
 * | `unreachable` | 5xx, 408, 429 | no usable answer; tried again                          |
 * | `protocol`    |               | what answers is no session service, such as a web page |
 * | `closed`      |               | disconnected while something waited                    |
 */
export type SessionErrorKind =
  | 'invalid'
  | 'not_found'
  | 'gone'
  | 'forbidden'
  | 'conflict'
  | 'refused'
  | 'unreachable'
  | 'protocol'
  | 'closed'

const SUMMARY: Record<SessionErrorKind, string> = {
  invalid: 'This cannot be a session',
  not_found: 'There is no such session, or nothing of that id in it',
  gone: 'The session was deleted',
  forbidden: 'The session is not open to these credentials',
  conflict: 'This contradicts the state of the session',
  refused: 'The session service refuses this',
  unreachable: 'The session service cannot be reached',
  protocol: 'What answers is no session service: check its address',
  closed: 'Disconnected',
}

export class SessionError extends Error {
  override readonly name = 'SessionError'
  readonly kind: SessionErrorKind
  /** What was seen, in words. */
  readonly detail: string
  /** HTTP status of the answer, if there was one. */
  readonly status: number | undefined
  /** The service's error code, if it gave one. */
  readonly code: string | undefined
  /** Milliseconds after which the service wants to be asked again. */
  readonly retryAfter: number | undefined

  constructor(
    kind: SessionErrorKind,
    detail = '',
    more: { status?: number | undefined; code?: string | undefined; retryAfter?: number | undefined; cause?: unknown } = {},
  ) {
    super(detail ? `${SUMMARY[kind]}: ${detail}` : `${SUMMARY[kind]}.`, { cause: more.cause })
    this.kind = kind
    this.detail = detail
    this.status = more.status
    this.code = more.code
    this.retryAfter = more.retryAfter
  }

  /** Trying again may help without anybody doing something. */
  get isTransient(): boolean {
    return this.kind === 'unreachable'
  }
}

const OF_STATUS: Record<number, SessionErrorKind> = {
  401: 'forbidden',
  403: 'forbidden',
  404: 'not_found',
  408: 'unreachable',
  409: 'conflict',
  410: 'gone',
  425: 'unreachable',
  429: 'unreachable',
}

/** Which error an HTTP status that is no success stands for. */
export function kindOf(status: number): SessionErrorKind {
  return OF_STATUS[status] ?? (status >= 500 ? 'unreachable' : status >= 400 ? 'refused' : 'protocol')
}

/** Any failure as a `SessionError`. */
export function asSessionError(error: unknown): SessionError {
  if (error instanceof SessionError) return error
  const detail = error instanceof Error ? error.message : String(error)
  return new SessionError('unreachable', detail, { cause: error })
}
