/** A place for text under keys that never fails: localStorage, or memory in its place. */

/**
 * How well things are kept: all of it; not, as the storage is full or switched off, so that a reload
 * does not know of what is new; or what had been kept of a chat could not be read, and is left out.
 */
export type StorageState = 'kept' | 'not_kept' | 'unreadable'

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

  /** @param tell Called when the storage begins to take nothing, and when it has all again. */
  constructor(
    private readonly storage: DurableStorage | undefined = localStorageOrNone(),
    private readonly tell: (state: StorageState) => void = () => {},
  ) {}

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
    const had = this.#kept.size
    try {
      if (this.storage === undefined) throw new TypeError('no storage')
      change(this.storage)
      this.#kept.delete(key)
    } catch {
      this.#kept.set(key, value) // see the class
    }
    const has = this.#kept.size
    if ((has > 0) !== had > 0) this.tell(has > 0 ? 'not_kept' : 'kept')
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
