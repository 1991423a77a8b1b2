/**
 * Reading the view of a session, for as long as somebody wants it.
 *
 * connecting ──first answer──► connected ──ends as planned──► connected (reads on)
 *     ▲                            └──breaks, or is silent──► connecting (after a while)
 *     └───────────────────────────────────────────────────────────┘
 * Any of them ──refused──► the reader ends, and says why.
 */

import { SessionError, asSessionError } from './errors.js'
import { Pause, delayOf } from './retry.js'
import { OutOfStepError, type ViewRecord } from './rows.js'
import { sseParser } from './sse.js'

export const BEGINNING = '-1'

/** All in milliseconds. */
export interface Timing {
  /** A connection on which nothing has come for so long, not even a heartbeat, is dead. */
  readonly silence: number
  /** First wait before trying again; it doubles each time. */
  readonly backoff: number
  /** Longest wait before trying again. */
  readonly backoffLimit: number
  /** Longest time for the answer to a call. */
  readonly patience: number
  /** Time between two signs of presence. */
  readonly presence: number
  /** Shortest time between two notifications about what has come. */
  readonly notify: number
}

/** The service sends a heartbeat every 10 s, and takes who is silent for 60 s to have left. */
export const TIMING: Timing = {
  silence: 25_000,
  backoff: 250,
  backoffLimit: 5_000,
  patience: 20_000,
  presence: 15_000,
  notify: 16,
}

/** After so many milliseconds a connection counts as one that worked. */
const SETTLED = 2_000
/** A page that was asleep asks anew when nothing has come for so long. */
const DOUBTFUL = 12_000

export interface ReaderOptions {
  /** Opens the view from an offset. */
  readonly open: (offset: string, signal: AbortSignal) => Promise<Response>
  /** Something has come; `fresh`: it is everything there is. Throws when it does not fit. */
  readonly onRecords: (records: readonly ViewRecord[], fresh: boolean) => void
  /** The service has answered: what is here is up to date. */
  readonly onConnected: (offset: string) => void
  /** The connection is lost, and is made again. */
  readonly onInterrupted: (error: SessionError) => void
  /** There is no use in trying again. */
  readonly onFailed: (error: SessionError) => void
  readonly timing: Timing
}

export class Reader {
  readonly #options: ReaderOptions
  #offset = BEGINNING
  #life: AbortController | undefined
  #attempt: AbortController | undefined
  #lastByte = 0
  readonly #pause = new Pause()

  constructor(options: ReaderOptions) {
    this.#options = options
  }

  get offset(): string {
    return this.#offset
  }

  get isRunning(): boolean {
    return this.#life !== undefined
  }

  start(): void {
    if (this.#life !== undefined) return
    const life = (this.#life = new AbortController())
    void this.#run(life.signal).finally(() => {
      if (this.#life === life) this.#life = undefined
    })
  }

  /** Read everything the next time. */
  rewind(): void {
    this.#offset = BEGINNING
  }

  stop(): void {
    this.#life?.abort()
    this.#life = undefined
    this.#attempt?.abort()
    this.#pause.end()
  }

  /** The page is back, or the network is: do not wait, and do not trust a connection that was silent. */
  hurry(): void {
    this.#pause.end()
    if (Date.now() - this.#lastByte > DOUBTFUL) this.interrupt('the connection was silent')
  }

  /** Give the current connection up. */
  interrupt(why: string): void {
    this.#attempt?.abort(new SessionError('unreachable', why))
  }

  async #run(life: AbortSignal): Promise<void> {
    let failures = 0
    while (!life.aborted) {
      const began = Date.now()
      let wait = 0
      try {
        const brought = await this.#read(life)
        failures = brought || Date.now() - began > SETTLED ? 0 : failures + 1
      } catch (error) {
        if (life.aborted) return
        if (error instanceof OutOfStepError) this.#offset = BEGINNING
        const told = error instanceof OutOfStepError ? undefined : asSessionError(error)
        if (told !== undefined && !told.isTransient) {
          this.#options.onFailed(told)
          return
        }
        failures = Date.now() - began > SETTLED ? 1 : failures + 1
        wait = told?.retryAfter ?? 0
        if (told !== undefined) this.#options.onInterrupted(told)
      }
      if (!life.aborted) await this.#pause.for(Math.max(wait, delayOf(failures - 1, this.#options.timing)))
    }
  }

  /** One connection, to its planned end; whether it brought anything new. */
  async #read(life: AbortSignal): Promise<boolean> {
    const attempt = (this.#attempt = new AbortController())
    const stop = (): void => attempt.abort()
    life.addEventListener('abort', stop)
    let watchdog: ReturnType<typeof setTimeout> | undefined
    const heard = (): void => {
      this.#lastByte = Date.now()
      clearTimeout(watchdog)
      watchdog = setTimeout(() => this.interrupt('it has fallen silent'), this.#options.timing.silence)
    }
    try {
      heard()
      const response = await this.#options.open(this.#offset, attempt.signal)
      if (!response.headers.get('content-type')?.startsWith('text/event-stream') || response.body === null) {
        attempt.abort()
        throw new SessionError('protocol', `it sent ${response.headers.get('content-type') ?? 'nothing'}`)
      }
      return await this.#events(response.body, attempt.signal, heard)
    } catch (error) {
      throw attempt.signal.aborted && attempt.signal.reason instanceof SessionError ? attempt.signal.reason : error
    } finally {
      clearTimeout(watchdog)
      life.removeEventListener('abort', stop)
      attempt.abort()
    }
  }

  async #events(body: ReadableStream<Uint8Array>, signal: AbortSignal, heard: () => void): Promise<boolean> {
    const parse = sseParser()
    const decoder = new TextDecoder()
    const reader = body.getReader()
    let records: readonly ViewRecord[] = []
    let brought = false
    for (;;) {
      const { done, value } = await reader.read()
      signal.throwIfAborted() // What has come is not shown any more.
      if (done) return brought
      heard()
      for (const { event, data } of parse(decoder.decode(value, { stream: true }))) {
        if (event === 'data') {
          records = json(data) as readonly ViewRecord[]
        } else if (event === 'control') {
          const offset = (json(data) as { streamNextOffset: string }).streamNextOffset
          brought ||= records.length > 0
          if (records.length > 0) this.#options.onRecords(records, this.#offset === BEGINNING)
          records = []
          this.#offset = offset
        }
      }
      // Even a heartbeat says that there is nothing new; except at the beginning, where there is.
      if (this.#offset !== BEGINNING) this.#options.onConnected(this.#offset)
    }
  }
}

function json(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new SessionError('protocol', 'an event that is not JSON', { cause: error })
  }
}
