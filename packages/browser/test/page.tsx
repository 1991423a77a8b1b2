/** A page without a browser: React on happy-dom, with the real network of Node. */

import { Window } from 'happy-dom'
import { StrictMode } from 'react'
import type { ReactNode } from 'react'
import type { Root } from 'react-dom/client'

const window = new Window({ url: 'http://localhost/' })
// Not all of it: fetch, streams and timers stay those of Node, which reach real servers.
for (const name of ['window', 'document', 'navigator', 'HTMLElement', 'Node'] as const) {
  Object.defineProperty(globalThis, name, { value: window[name], configurable: true, writable: true })
}

/** Everything that React complained about, mismatches of hydration included. */
export const complaints: unknown[] = []
console.error = (...args: unknown[]) => void complaints.push(args)

/** A mounted component. */
export class Page {
  readonly #container = document.body.appendChild(document.createElement('div'))
  #root: Root | undefined

  /** Show it in strict mode, over what a server has rendered when there is any. */
  async show(node: ReactNode, html?: string): Promise<this> {
    // Only now: React looks at the globals when it is loaded.
    const { createRoot, hydrateRoot } = await import('react-dom/client')
    const strict = <StrictMode>{node}</StrictMode>
    if (html === undefined) {
      this.#root = createRoot(this.#container)
      this.#root.render(strict)
    } else {
      this.#container.innerHTML = html
      this.#root = hydrateRoot(this.#container, strict)
    }
    return this
  }

  get html(): string {
    return this.#container.innerHTML
  }

  /** Unmount it. */
  leave(): void {
    this.#root?.unmount()
    this.#container.remove()
  }
}
