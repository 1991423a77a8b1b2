/** The proxy's wire facts: control messages, offsets, header names. Pure. */

/** How a generation ended; `code` is absent when it is complete. */
export interface TerminalPayload {
  code?: string | null
  /** `completed failed aborted timed_out orphaned truncated too_large`. */
  state?: string | null
  reason?: string | null
  actor?: string | null
  message?: string | null
  bytes?: { stored: number; received?: number | null } | null
  timing?: Record<string, unknown> | null
  /** The upstream's own answer, for `upstream_rejected` only; the body is Base64. */
  response?: { status: number; headers: [string, string][]; body: string } | null
}

/** What the upstream answered with. */
export interface StartPayload {
  status: number
  contentType?: string | null
  headers?: [string, string][]
}

/** One message of a control stream; readers skip events they do not know. */
export interface ControlMessage {
  event: string
  dataOffset: string
  payload: Record<string, unknown>
}

/** Offset token of a byte position: 20 digits. */
export function formatOffset(position: number): string {
  return String(position).padStart(20, '0')
}

/** The byte position of an offset token, undefined for anything else. */
export function parseOffset(token: string | null): number | undefined {
  if (token === null || !/^\d{20}$/.test(token)) return undefined
  const position = Number(token)
  return Number.isSafeInteger(position) ? position : undefined
}

/**
 * Read a run of control messages.
 *
 * @throws SyntaxError or TypeError when it is none.
 */
export function parseControl(text: string): ControlMessage[] {
  const items: unknown = JSON.parse(text)
  if (!Array.isArray(items)) throw new TypeError('not an array')
  return items.map((item: unknown) => {
    const { event, dataOffset, payload } = item as Partial<ControlMessage>
    if (typeof event !== 'string') throw new TypeError('a message without an event')
    return { event, dataOffset: dataOffset ?? formatOffset(0), payload: payload ?? {} }
  })
}

/** `Retry-After` as milliseconds from `now` (epoch milliseconds); undefined when it is none. */
export function parseRetryAfter(value: string | null, now: number): number | undefined {
  if (value === null) return undefined
  const text = value.trim()
  if (/^\d+$/.test(text)) return Number(text.slice(0, 9)) * 1000
  const date = Date.parse(text)
  return Number.isNaN(date) ? undefined : Math.max(0, date - now)
}
