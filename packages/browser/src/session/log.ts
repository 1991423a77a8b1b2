/** The log of a session as it is, row by row: for an inspector. */

import type { ChangeEvent, StateEvent } from '@durable-streams/state'
import { SessionError, asSessionError, kindOf } from './errors.js'
import { Listeners } from './listeners.js'

/** One row of the log. */
export interface LogRow {
  /** Counted from where the reading began. */
  readonly number: number
  /** `chunk`, `run`, `presence`, `agent`, `session`, or `control`. */
  readonly type: string
  readonly key: string
  readonly operation: string
  readonly value: unknown
  readonly headers: Readonly<Record<string, unknown>>
  /** Milliseconds since the epoch at which it came here. */
  readonly receivedAt: number
}

export interface LogSnapshot {
  /** The last rows, the newest one last. */
  readonly rows: readonly LogRow[]
  /** Rows that have come so far. */
  readonly count: number
  readonly error: SessionError | undefined
}

/** A log that is being read. */
export interface SessionLog {
  getSnapshot(): LogSnapshot
  /** Be called when the snapshot is another one; the answer ends that. */
  subscribe(listener: () => void): () => void
  /** Read no further. */
  close(): void
}

export interface LogOptions {
  /** `-1`, the default, is the beginning, and `now` the end. */
  readonly offset?: string
  /** So many rows are kept. */
  readonly limit?: number
}

const KEPT = 500
const NOTIFY = 50

/** Read a log. What reads it is loaded when it is wanted: a page without an inspector has no use for it. */
export function openLog(url: string, send: typeof fetch, options: LogOptions = {}): SessionLog {
  const limit = options.limit ?? KEPT
  const ending = new AbortController()
  const listeners = new Listeners<void>()
  let rows: LogRow[] = []
  let count = 0
  let snapshot: LogSnapshot = { rows, count, error: undefined }
  let timer: ReturnType<typeof setTimeout> | undefined

  const show = (error?: SessionError): void => {
    clearTimeout(timer)
    timer = undefined
    snapshot = { rows, count, error }
    listeners.tell()
  }
  const take = (items: readonly StateEvent[]): void => {
    const receivedAt = Date.now()
    const made = items.map((item) => rowOf(item, count++, receivedAt))
    rows = [...rows, ...made].slice(-limit)
    timer ??= setTimeout(show, NOTIFY)
  }
  const read = async (): Promise<void> => {
    const { stream } = await import('@durable-streams/client')
    const response = await stream<StateEvent>({
      url: new URL(url, globalThis.location?.href),
      offset: options.offset ?? '-1',
      live: 'sse',
      json: true,
      fetch: send,
      signal: ending.signal,
      warnOnHttp: false,
    })
    response.subscribeJson((batch) => take(batch.items))
    await response.closed
  }
  read().catch((error: unknown) => {
    if (!ending.signal.aborted) show(refusal(error))
  })
  return {
    getSnapshot: () => snapshot,
    subscribe: (listener) => listeners.add(listener),
    close: () => {
      clearTimeout(timer)
      ending.abort()
    },
  }
}

function rowOf(event: StateEvent, number: number, receivedAt: number): LogRow {
  const { type, key, value } = event as Partial<ChangeEvent>
  const headers: Readonly<Record<string, unknown>> = event.headers
  const operation = String(headers['operation'] ?? headers['control'])
  return { number, type: type ?? 'control', key: key ?? '', operation, value, headers, receivedAt }
}

function refusal(error: unknown): SessionError {
  const status = (error as { status?: unknown } | null)?.status
  if (typeof status !== 'number') return asSessionError(error)
  return new SessionError(kindOf(status), `HTTP ${status}`, { status, cause: error })
}
