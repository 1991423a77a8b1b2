/** Saying that one is here, again and again, and goodbye at the end. */

import type { Call } from './service.js'
import type { ActorType, Presence as PresenceRow, PresenceStatus } from './types.js'

export interface PresenceOptions {
  readonly actorId: string
  readonly actorType: ActorType
  readonly name: () => string | undefined
  readonly call: (call: Call) => Promise<unknown>
  /** Sends a call that outlives the page. */
  readonly callAndLeave: (call: Call) => void
  /** Milliseconds between two signs of life. */
  readonly every: number
}

export class Presence {
  readonly #options: PresenceOptions
  #status: PresenceStatus | undefined
  #timer: ReturnType<typeof setInterval> | undefined
  #shown: PresenceRow | undefined

  constructor(options: PresenceOptions) {
    this.#options = options
  }

  get status(): PresenceStatus | undefined {
    return this.#status
  }

  /** Tell it now, and again until it is another one. */
  async set(status: PresenceStatus): Promise<void> {
    this.#status = status
    this.#repeat()
    await this.#options.call(this.#sign(status))
  }

  /** As `set`, for when nobody waits. */
  tell(status: PresenceStatus): void {
    this.set(status).catch(() => undefined) // The next sign of life may get through.
  }

  /**
   * How the session shows this actor. The same person in another tab may have left or gone away;
   * who is looking at this one is still here.
   */
  shownAs(row: PresenceRow | undefined): void {
    if (row === this.#shown) return
    this.#shown = row
    if (this.#status === 'online' && row !== undefined && row.status !== 'online') this.tell('online')
  }

  /** Say goodbye, if there was a greeting. */
  leave(): void {
    clearInterval(this.#timer)
    if (this.#status !== undefined && this.#status !== 'offline') {
      this.#options.callAndLeave(this.#sign('offline'))
    }
    this.#status = undefined
    this.#shown = undefined
  }

  #repeat(): void {
    clearInterval(this.#timer)
    if (this.#status === 'offline') return
    this.#timer = setInterval(() => {
      // In another tab the same person may be looking: a hidden one does not contradict.
      const isDoubled = this.#status === 'away' && this.#shown?.status === 'online'
      if (this.#status !== undefined && !isDoubled) this.tell(this.#status)
    }, this.#options.every)
  }

  #sign(status: PresenceStatus): Call {
    const { actorId, actorType, name } = this.#options
    return { method: 'POST', path: '/presence', body: { actorId, actorType, name: name(), status } }
  }
}
