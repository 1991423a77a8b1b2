import { afterAll, beforeAll, expect, test } from 'vitest'

import { GenerationOrphaned, createDurableFetch } from '../src/index.js'
import { randomUUID } from '../src/uuid.js'
import { aModel } from './fixtures.js'
import { Proxy, readUntil } from './servers.js'

const ORIGIN = 'https://app.example'
const proxy = new Proxy(['--cors-origin', ORIGIN])

beforeAll(() => proxy.start())
afterAll(() => proxy[Symbol.asyncDispose]())

test('a proxy that is killed in mid-answer: all bytes, then a typed error, and then a new answer', async () => {
  const model = await aModel()
  const session = randomUUID()
  const durableFetch = createDurableFetch({ proxyUrl: proxy.url })
  const ask = (id: string) =>
    durableFetch(model.url, {
      method: 'POST',
      body: '{}',
      headers: { 'X-Session-ID': session, 'X-Request-ID': id },
    })
  model.say('data: 1\n\n')
  const reader = (await ask('turn-1')).body!.getReader()
  expect(await readUntil(reader, 'data: 1')).toBe('data: 1\n\n')
  const rest = reader.read().catch((reason: unknown) => reason)
  await proxy.kill()
  await proxy.start()
  const error = await rest
  expect(error).toBeInstanceOf(GenerationOrphaned)
  expect(error).toMatchObject({ code: 'orphaned', offset: 'data: 1\n\n'.length })
  expect((error as Error).message).toMatch(/restarted in the middle of the answer/)
  expect(durableFetch.remembered(session)).toBeUndefined()
  model.end()
  expect(await (await ask('turn-2')).text()).toBe('data: 1\n\n')
  expect(model.calls).toBe(2)
})

test('what was complete is read after the restart, and not asked again', async () => {
  const model = await aModel()
  model.say('data: 1\n\n')
  model.end()
  const headers = { 'X-Session-ID': 'chat', 'X-Request-ID': 'turn-1' }
  const init = { method: 'POST', body: '{}', headers }
  const durableFetch = createDurableFetch({ proxyUrl: proxy.url })
  expect(await (await durableFetch(model.url, init)).text()).toBe('data: 1\n\n')
  await proxy.kill()
  await proxy.start()
  expect(await (await durableFetch(model.url, init)).text()).toBe('data: 1\n\n')
  expect(model.calls).toBe(1)
})

test('a page of another origin may send and read all that the client needs', async () => {
  const model = await aModel()
  model.say('data: 1\n\n')
  model.end()
  const seen = new Set<string>()
  // What a browser would let through: headers after a preflight that allows them, and of an
  // answer only those that are exposed.
  const asBrowser: typeof fetch = async (input, init = {}) => {
    const headers = new Headers(init.headers)
    const names = [...headers.keys()]
    const preflight = await fetch(input, {
      method: 'OPTIONS',
      headers: {
        Origin: ORIGIN,
        'Access-Control-Request-Method': init.method ?? 'GET',
        'Access-Control-Request-Headers': names.join(','),
      },
    })
    expect(preflight.ok).toBe(true)
    const allowed = (preflight.headers.get('access-control-allow-headers') ?? '').toLowerCase()
    for (const name of names) expect(allowed).toContain(name)
    headers.set('Origin', ORIGIN)
    const response = await fetch(input, { ...init, headers })
    expect(response.headers.get('access-control-allow-origin')).toBe(ORIGIN)
    const exposed = (response.headers.get('access-control-expose-headers') ?? '')
      .toLowerCase()
      .split(/,\s*/)
    const shown = [...response.headers].filter(
      ([name]) => exposed.includes(name) || name === 'content-type' || name === 'cache-control',
    )
    for (const [name] of shown) seen.add(name)
    return new Response(response.body, { status: response.status, headers: shown })
  }
  const session = randomUUID()
  const durableFetch = createDurableFetch({
    proxyUrl: proxy.url,
    fetch: asBrowser,
    headers: { 'X-Proxy-Authorization': 'Bearer token' },
  })
  const question = { method: 'POST', body: '{}', headers: { 'X-Session-ID': session } }
  expect(await (await durableFetch(model.url, question)).text()).toBe('data: 1\n\n')
  expect(await durableFetch.active(session)).toEqual([])
  const refused = await durableFetch('http://not-allowed.example/', question)
  expect(refused.headers.get('x-proxy-error')).toBe('upstream_not_allowed')
  expect([...seen]).toEqual(
    expect.arrayContaining(['x-proxy-source', 'x-proxy-error', 'stream-next-offset']),
  )
})
