/** Real servers for the tests: the Python proxy as a process, an upstream, a relay that can cut. */

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { connect, createServer as createTcpServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'

const ROOT = new URL('../../..', import.meta.url).pathname
const HOST = '127.0.0.1'

/** Milliseconds; every limit is a multiple of it, and a slow machine makes it longer, as in the Python tests. */
export const UNIT = 1000 * Number(process.env['DURABLE_TEST_UNIT'] ?? 1)

/** One of our commands as a process with a store of its own, which can be killed and started again. */
class ServerProcess {
  url = ''
  readonly #folder: string
  #process: ChildProcess | undefined

  constructor(
    private readonly command: string,
    private readonly options: readonly string[],
  ) {
    this.#folder = mkdtempSync(join(tmpdir(), `${command}-`))
  }

  /** Start it, the second time on the same port with the same store. */
  async start(environment: Record<string, string> = {}): Promise<this> {
    const port = this.url === '' ? '0' : new URL(this.url).port
    const store = `sqlite:///${join(this.#folder, 'store.sqlite')}`
    const allow = `http://${HOST}:*/**`
    const all = ['serve', '--port', port, '--store', store, '--allow', allow, ...this.options]
    const env = { ...process.env, PYTHONUNBUFFERED: '1', ...environment }
    const child = spawn(join(ROOT, '.venv/bin', this.command), all, {
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.#process = child
    const failed = once(child, 'error').then(([error]) => Promise.reject(error as Error))
    this.url = await Promise.race([failed, this.#address(child.stdout)])
    child.stdout.resume()
    return this
  }

  async #address(output: Readable): Promise<string> {
    for await (const line of createInterface({ input: output })) {
      const [, command, url] = /^(\S+): (http\S+) on /.exec(line) ?? []
      if (command === this.command && url !== undefined) return url
    }
    throw new Error(`${this.command} did not start: run \`make setup\` first`)
  }

  /** SIGKILL, and wait until it is gone. */
  async kill(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }

  /** Kill it and remove its store. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

/** A `durable-proxy`. */
export class Proxy extends ServerProcess {
  constructor(options: readonly string[] = []) {
    super('durable-proxy', options)
  }
}

/** A `durable-sessions`, which soon notices what an earlier one has left. */
export class SessionService extends ServerProcess {
  constructor() {
    super('durable-sessions', ['--lease', '1', '--drain', '0'])
  }
}

export type Handler = (request: IncomingMessage, response: ServerResponse, body: Buffer) => unknown

/** An HTTP server that answers as it is told, and remembers what it was asked. */
export class Upstream {
  readonly calls: { method: string; headers: IncomingMessage['headers']; body: Buffer }[] = []
  /** Requests whose client went away before the answer was complete. */
  disconnects = 0
  url = ''
  readonly #server

  constructor(handler: Handler) {
    this.#server = createServer(async (request, response) => {
      const parts: Buffer[] = []
      for await (const part of request) parts.push(part as Buffer)
      const body = Buffer.concat(parts)
      this.calls.push({ method: request.method ?? '', headers: request.headers, body })
      response.on('close', () => {
        if (!response.writableFinished) this.disconnects += 1
      })
      await handler(request, response, body)
    })
  }

  async start(): Promise<this> {
    this.#server.listen(0, HOST)
    await once(this.#server, 'listening')
    this.url = `http://${HOST}:${(this.#server.address() as AddressInfo).port}/`
    return this
  }

  [Symbol.dispose](): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }
}

/** An upstream that sends server-sent events, each when it is told to. */
export class Model {
  readonly upstream: Upstream
  readonly #sent: string[] = []
  #over = false
  #wake = () => {}
  #changed = this.#nextChange()

  constructor(contentType = 'text/event-stream') {
    this.upstream = new Upstream(async (_, response) => {
      response.writeHead(200, { 'content-type': contentType })
      response.flushHeaders()
      for (let next = 0; ; next += 1) {
        while (next >= this.#sent.length && !this.#over) await this.#changed
        if (next >= this.#sent.length) break
        response.write(this.#sent[next])
      }
      response.end()
    })
  }

  static async start(contentType?: string): Promise<Model> {
    const model = new Model(contentType)
    await model.upstream.start()
    return model
  }

  get url(): string {
    return this.upstream.url
  }

  get calls(): number {
    return this.upstream.calls.length
  }

  /** Send pieces of the answer. */
  say(...pieces: string[]): void {
    this.#sent.push(...pieces)
    this.#changes()
  }

  /** End the answer. */
  end(): void {
    this.#over = true
    this.#changes()
  }

  /** The next calls get an answer of their own. */
  reset(): void {
    this.#sent.length = 0
    this.#over = false
  }

  #changes(): void {
    this.#wake()
    this.#changed = this.#nextChange()
  }

  #nextChange(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve))
  }

  [Symbol.dispose](): void {
    this.end()
    this.upstream[Symbol.dispose]()
  }
}

/** A TCP relay in front of a server, whose connections can be cut. */
export class Relay {
  url = ''
  /** Connections that were made. */
  connections = 0
  /** Take connections, and let nothing through. */
  silent = false
  /** Refuse connections. */
  down = false
  readonly #sockets = new Set<Socket>()
  readonly #server

  constructor(private readonly target: () => string) {
    this.#server = createTcpServer((socket) => this.#connected(socket))
  }

  async start(): Promise<this> {
    this.#server.listen(0, HOST)
    await once(this.#server, 'listening')
    this.url = `http://${HOST}:${(this.#server.address() as AddressInfo).port}`
    return this
  }

  /** Cut every connection. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  /** Cut every connection, and refuse new ones. */
  takeDown(): void {
    this.down = true
    this.cut()
  }

  /** Be a wire again. */
  mend(): void {
    this.down = false
    this.silent = false
  }

  #connected(socket: Socket): void {
    this.connections += 1
    if (this.down) return void socket.resetAndDestroy()
    const { hostname, port } = new URL(this.target())
    const other = connect(Number(port), hostname)
    for (const [from, to] of [[socket, other], [other, socket]] as const) {
      this.#sockets.add(from)
      from.on('data', (data) => {
        if (!this.silent) to.write(data)
      })
      from.on('error', () => {})
      from.on('close', () => {
        this.#sockets.delete(from)
        to.destroy()
      })
      from.on('end', () => to.end())
    }
  }

  [Symbol.dispose](): void {
    this.cut()
    this.#server.close()
  }
}

/** Wait until something holds; the limit is far beyond what a busy machine needs. */
export async function until(holds: () => unknown, what: string, limit = 40 * UNIT): Promise<void> {
  const end = Date.now() + limit
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`waited ${limit} ms in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** Read a body until it has so much text; the rest stays to be read. */
export async function readUntil(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  text: string,
  have = '',
): Promise<string> {
  const decoder = new TextDecoder()
  while (!have.includes(text)) {
    const { value, done } = await reader.read()
    if (done) throw new Error(`the body ended before ${JSON.stringify(text)}: ${have}`)
    have += decoder.decode(value, { stream: true })
  }
  return have
}
