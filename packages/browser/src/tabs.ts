/** What the tabs of one browser tell each other about a session. */

/** A tab has sent something, a generation has begun, or all was cleared. */
export type TabMessage<T> =
  | { kind: 'sent'; messages: T[] }
  | { kind: 'began'; requestId?: string | undefined }
  | { kind: 'cleared' }

/** The other tabs of this browser that have the same session open. */
export class Tabs<T> {
  readonly #channel: BroadcastChannel | undefined

  /** @param name The same in every tab of the session. */
  constructor(name: string, heard: (message: TabMessage<T>) => void) {
    if (typeof BroadcastChannel === 'undefined') return
    this.#channel = new BroadcastChannel(name)
    this.#channel.onmessage = (event: MessageEvent<TabMessage<T>>) => heard(event.data)
  }

  tell(message: TabMessage<T>): void {
    try {
      this.#channel?.postMessage(message)
    } catch {
      // Something that cannot be cloned, in a message of the page: the other tabs hear the rest.
    }
  }

  close(): void {
    this.#channel?.close()
  }
}
