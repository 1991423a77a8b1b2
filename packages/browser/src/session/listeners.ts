/** Those who want to be told. */

export type Listener<T> = (event: T) => void

export class Listeners<T> {
  readonly #all = new Set<Listener<T>>()

  /** The answer ends it. */
  add(listener: Listener<T>): () => void {
    this.#all.add(listener)
    return () => this.#all.delete(listener)
  }

  /** Tell all of them. One that throws is reported as any uncaught error is, and disturbs nobody else. */
  tell(event: T): void {
    for (const listener of [...this.#all]) {
      try {
        listener(event)
      } catch (error) {
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }
}
