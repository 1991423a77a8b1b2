/** A place for text under keys that never fails: localStorage, or memory in its place. */

/** What is needed of a `Storage` of the browser. */
export interface DurableStorage {
  getItem(key: string): string | null
  setItem(key: string, value: string): void
  removeItem(key: string): void
}

/** Keeps text for as long as the page lives. */
export class MemoryStorage implements DurableStorage {
  readonly #items = new Map<string, string>()

  getItem(key: string): string | null {
    return this.#items.get(key) ?? null
  }

  setItem(key: string, value: string): void {
    this.#items.set(key, value)
  }

  removeItem(key: string): void {
    this.#items.delete(key)
  }
}

/**
 * A storage that cannot break a chat.
 *
 * Storage may be switched off, full, or throw on mere access (private windows, frames of other
 * sites). What it does not take is kept in memory: this page goes on as usual, and only a reload
 * does not know of it.
 */
export class SafeStorage implements DurableStorage {
  /** What the storage did not take; null: removed, and the storage did not take that either. */
  readonly #kept = new Map<string, string | null>()

  constructor(private readonly storage: DurableStorage | undefined = localStorageOrNone()) {}

  getItem(key: string): string | null {
    const kept = this.#kept.get(key)
    if (kept !== undefined) return kept
    try {
      return this.storage?.getItem(key) ?? null
    } catch {
      return null // as good as empty: see the class
    }
  }

  setItem(key: string, value: string): void {
    this.#change(key, value, (storage) => storage.setItem(key, value))
  }

  removeItem(key: string): void {
    this.#change(key, null, (storage) => storage.removeItem(key))
  }

  #change(key: string, value: string | null, change: (storage: DurableStorage) => void): void {
    try {
      if (this.storage === undefined) throw new TypeError('no storage')
      change(this.storage)
      this.#kept.delete(key)
    } catch {
      this.#kept.set(key, value) // see the class
    }
  }
}

/** The storage of the page's origin; none where that is forbidden, or where there is no page. */
export function localStorageOrNone(): Storage | undefined {
  try {
    return typeof window === 'undefined' ? undefined : (window.localStorage ?? undefined)
  } catch {
    return undefined // access alone throws where cookies are blocked
  }
}
