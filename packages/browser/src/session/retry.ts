/** Waiting before the next attempt. */

/**
 * Milliseconds before another attempt: exponential, and half of it random, so that the pages of a restarted
 * service do not come back all at once.
 *
 * @param attempt - 0 after the first failure; -1, after none, waits half as long.
 */
export function delayOf(attempt: number, { backoff, backoffLimit }: { backoff: number; backoffLimit: number }): number {
  return Math.min(backoff * 2 ** attempt, backoffLimit) * (0.5 + Math.random() / 2)
}

/** A wait that somebody else may cut short. */
export class Pause {
  #end: (() => void) | undefined

  for(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds)
      this.#end = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  /** End the wait now, if there is one. */
  end(): void {
    this.#end?.()
  }
}
