/** One proxy and one session service for all tests that do not kill theirs. */

import type { TestProject } from 'vitest/node'

import { Proxy, SessionService } from './servers.js'

declare module 'vitest' {
  export interface ProvidedContext {
    proxyUrl: string
    sessionsUrl: string
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const [proxy, sessions] = await Promise.all([new Proxy().start(), new SessionService().start()])
  project.provide('proxyUrl', proxy.url)
  project.provide('sessionsUrl', sessions.url)
  return async () => {
    await Promise.all([proxy[Symbol.asyncDispose](), sessions[Symbol.asyncDispose]()])
  }
}
