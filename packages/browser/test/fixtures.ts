/** What tests begin with: the proxy of the run, and peers that end with the test. */

import { inject, onTestFinished } from 'vitest'

import { Model, Relay, Upstream } from './servers.js'
import type { Handler } from './servers.js'

export const proxyUrl = inject('proxyUrl')

/** Time settings of a client that gives up soon. */
export const QUICK = { startPatience: 300, backoffFirst: 20, backoffLimit: 50 }

/** Server-sent events of these objects, one piece each. */
export const sse = (...chunks: object[]) => chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`)

export async function aModel(contentType?: string): Promise<Model> {
  const model = await Model.start(contentType)
  onTestFinished(() => model[Symbol.dispose]())
  return model
}

export async function anUpstream(handler: Handler): Promise<Upstream> {
  const upstream = await new Upstream(handler).start()
  onTestFinished(() => upstream[Symbol.dispose]())
  return upstream
}

export async function aRelay(target = proxyUrl): Promise<Relay> {
  const relay = await new Relay(() => target).start()
  onTestFinished(() => relay[Symbol.dispose]())
  return relay
}
