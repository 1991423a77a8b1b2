/** Agents for the session service to call, and what a session shows. */

import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { DurableChatSession, type DurableChatSessionOptions, type SessionSnapshot } from '../../src/session/index.js'
import { until } from '../servers.js'

const LOOPBACK = '127.0.0.1'

/** Fast enough for a test, slow enough for a busy machine. */
export const TIMING = { backoff: 20, backoffLimit: 100, notify: 0 }

/** A session service. */
export class Service {
  constructor(public url: string) {}

  /** What a call answers, as JSON. */
  async call(method: string, path: string, body?: unknown): Promise<unknown> {
    const answer = await fetch(`${this.url}/v1/sessions/${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } }),
    })
    if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`)
    const text = await answer.text()
    return text === '' ? undefined : JSON.parse(text)
  }
}

/** One call of an agent, answered piece by piece in the older TanStack format. */
export class AgentCall {
  constructor(
    readonly body: { messages: { role: string; content: string }[] },
    readonly response: ServerResponse,
  ) {}

  event(chunk: unknown): void {
    this.response.write(`data: ${JSON.stringify(chunk)}\n\n`)
  }

  say(...deltas: string[]): void {
    for (const delta of deltas) this.event({ type: 'content', delta, role: 'assistant' })
  }

  askApproval(approvalId: string, callId: string, name: string, input: unknown): void {
    const call = { id: callId, type: 'function', function: { name, arguments: JSON.stringify(input) } }
    this.event({ type: 'tool_call', index: 0, toolCall: call })
    const approval = { id: approvalId, needsApproval: true }
    this.event({ type: 'approval-requested', toolCallId: callId, toolName: name, input, approval })
  }

  callTool(callId: string, name: string, input: unknown): void {
    const call = { id: callId, type: 'function', function: { name, arguments: JSON.stringify(input) } }
    this.event({ type: 'tool_call', index: 0, toolCall: call })
  }

  done(finishReason = 'stop'): void {
    this.event({ type: 'done', finishReason })
    this.response.end()
  }
}

/** An agent whose calls the test answers. */
export class AgentServer {
  readonly #server = createHttpServer((request, response) => void this.#take(request, response))
  readonly calls: AgentCall[] = []
  #answer: ((call: AgentCall) => void | Promise<void>) | undefined

  async start(): Promise<this> {
    await new Promise<void>((done) => this.#server.listen(0, LOOPBACK, done))
    return this
  }

  get endpoint(): string {
    return `http://${LOOPBACK}:${(this.#server.address() as AddressInfo).port}/chat`
  }

  /** How every call is answered from now on. */
  answer(how: (call: AgentCall) => void | Promise<void>): void {
    this.#answer = how
  }

  /** The next call that was not taken yet. */
  async called(number: number): Promise<AgentCall> {
    await until(() => this.calls.length >= number, `call ${number} of the agent`)
    return this.calls[number - 1] as AgentCall
  }

  async end(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((done) => this.#server.close(done))
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const pieces: Buffer[] = []
    for await (const piece of request) pieces.push(piece as Buffer)
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.flushHeaders()
    const call = new AgentCall(JSON.parse(Buffer.concat(pieces).toString()) as AgentCall['body'], response)
    this.calls.push(call)
    await this.#answer?.(call)
  }
}

/** Wait for a snapshot. */
export async function shows(
  session: DurableChatSession,
  condition: (snapshot: SessionSnapshot) => boolean,
): Promise<SessionSnapshot> {
  try {
    await until(() => condition(session.getSnapshot()), condition.toString())
  } catch (error) {
    throw new Error(`${String(error)}\n${JSON.stringify(session.getSnapshot(), null, 1)}`)
  }
  return session.getSnapshot()
}

/** A session of a client, with fast timing and a storage of its own. */
export function sessionOf(url: string, sessionId: string, more: Partial<DurableChatSessionOptions> = {}): DurableChatSession {
  return new DurableChatSession({ url, sessionId, storage: null, actor: { id: 'ada' }, timing: TIMING, ...more })
}

/** Who said what. */
export function texts({ messages }: SessionSnapshot): string[] {
  return messages.map((one) => one.parts.map((part) => (part.type === 'text' ? part.content : `[${part.type}]`)).join(''))
}

/** A `Storage` as a browser has it; `limit` characters fit in. */
export class MemoryStorage implements Storage {
  readonly entries = new Map<string, string>()
  constructor(readonly limit = Infinity) {}

  get length(): number {
    return this.entries.size
  }
  key(index: number): string | null {
    return [...this.entries.keys()][index] ?? null
  }
  getItem(key: string): string | null {
    return this.entries.get(key) ?? null
  }
  setItem(key: string, value: string): void {
    if (value.length > this.limit) throw new DOMException('full', 'QuotaExceededError')
    this.entries.set(key, value)
  }
  removeItem(key: string): void {
    this.entries.delete(key)
  }
  clear(): void {
    this.entries.clear()
  }
}
