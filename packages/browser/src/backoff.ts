/** How long to wait before the next attempt, and when to stop trying. Pure. */

export interface BackoffOptions {
  /** Longest first delay, in milliseconds; it doubles with every attempt. */
  first: number
  /** No delay of our own is longer. */
  limit: number
  /** Milliseconds from the first failure after the last progress to the last attempt. */
  giveUpAfter: number
  /** Uniform in [0, 1). */
  random: () => number
}

/**
 * Jittered exponential back-off that only progress resets.
 *
 * Half of each delay is fixed and half is random: attempts never become a tight loop, and the
 * readers of a restarted server do not come back all at once.
 */
export class Backoff {
  giveUpAfter: number
  #attempt = 0
  #failingSince: number | undefined
  #lastOneFor: number | undefined

  constructor(private readonly options: BackoffOptions) {
    this.giveUpAfter = options.giveUpAfter
  }

  /** Something worth having arrived: the next failure is a first one. */
  progress(): void {
    this.#attempt = 0
    this.#failingSince = undefined
    this.#lastOneFor = undefined
  }

  /** Milliseconds since the first failure after the last progress. */
  failingFor(now: number): number {
    return this.#failingSince === undefined ? 0 : now - this.#failingSince
  }

  /**
   * Milliseconds to wait after a failure at `now`; undefined: give up.
   *
   * A delay of our own that goes past the limit of our patience is cut short, for one last attempt.
   * A `retryAfter` of the server is a lower bound. One that goes past the limit means to give up at
   * once: an earlier attempt would be refused as well.
   */
  delay(now: number, retryAfter = 0): number | undefined {
    this.#failingSince ??= now
    const { first, limit, random } = this.options
    const ceiling = Math.min(limit, first * 2 ** Math.min(this.#attempt, 32))
    this.#attempt += 1
    const wait = Math.max(ceiling * (0.5 + 0.5 * random()), retryAfter)
    const left = this.giveUpAfter - this.failingFor(now)
    if (wait < left) return wait
    if (left <= 0 || this.#lastOneFor === this.giveUpAfter || retryAfter > left) return undefined
    this.#lastOneFor = this.giveUpAfter
    return left
  }
}
