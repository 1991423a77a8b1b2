/** Asking the proxy who runs, and stopping one. */

import { GenerationError, ProxyRefused } from './errors.js'
import type { Link } from './link.js'

/** A generation as the proxy tells of it. */
export interface GenerationInfo {
  sessionId: string
  requestId: string
  /** `starting`, `streaming`, or what it has come to: `completed`, `aborted`, `failed`, ... */
  state: string
  /** RFC 3339. */
  startedAt: string
  /** Bytes that can be read. */
  bytes: number
}

/** What became of a stop. */
export interface Stopped {
  /** This stop ended a generation. False: it was over, another stop was first, or nothing ran. */
  stopped: boolean
  /** What the generation has come to; undefined when nothing ran. */
  state: string | undefined
  /** Which one it was. */
  requestId: string | undefined
}

/** Why and by whom a generation is stopped; its readers are told. */
export interface StopOptions {
  /** Only this generation; when absent, the one this browser remembers, or the newest that runs. */
  requestId?: string
  reason?: string
  actor?: string
}

/** The session's generations that run, on all nodes and for all browsers, the oldest first. */
export async function listActive(link: Link): Promise<GenerationInfo[]> {
  const url = link.client.proxy().active(link.progress.sessionId)
  const told = await link.ask<{ generations: GenerationInfo[] }>('GET', url)
  return told?.generations ?? []
}

/** Their request ids; none for who may start and read but not list, or a proxy without this. */
export async function listIfAllowed(link: Link): Promise<string[]> {
  try {
    return (await listActive(link)).map((generation) => generation.requestId)
  } catch (error) {
    if (error instanceof ProxyRefused) return []
    throw error
  }
}

/** Stop one generation. */
export async function stopOne(link: Link, requestId: string, told: StopOptions): Promise<Stopped> {
  const url = link.client.proxy().stop(link.progress.sessionId, requestId)
  const { reason, actor } = told
  const answer = await link.ask<{ stopped: boolean; state: string }>('POST', url, { reason, actor })
  if (answer !== undefined && typeof answer.stopped !== 'boolean') {
    throw new GenerationError('the answer to a stop makes no sense', { ...link.progress })
  }
  return { stopped: answer?.stopped ?? false, state: answer?.state, requestId }
}
