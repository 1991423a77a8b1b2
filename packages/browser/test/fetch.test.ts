import { expect, test } from 'vitest'

import {
  GenerationAborted,
  GenerationTruncated,
  MemoryStorage,
  NotADurableProxy,
  ProxyUnreachable,
  createDurableFetch,
} from '../src/index.js'
import type { DurableFetchOptions } from '../src/index.js'
import { randomUUID } from '../src/uuid.js'
import { QUICK, aModel, aRelay, anUpstream, proxyUrl } from './fixtures.js'
import { readUntil, until } from './servers.js'

function client(options: Partial<DurableFetchOptions> = {}) {
  return createDurableFetch({ proxyUrl, ...options })
}

function post(session: string, more: Record<string, string> = {}): RequestInit {
  return { method: 'POST', body: '{}', headers: { 'X-Session-ID': session, ...more } }
}

function resume(session: string, more: Record<string, string> = {}): RequestInit {
  return { headers: { 'X-Session-ID': session, 'X-Resume-Active-Generation': 'true', ...more } }
}

test('an answer is an ordinary response', async () => {
  const upstream = await anUpstream((request, response) => {
    response.writeHead(201, { 'content-type': 'text/plain', 'x-vendor': 'yes' })
    response.end(`${request.method} said ${request.headers['x-mine']}`)
  })
  const session = randomUUID()
  const durableFetch = client()
  const answer = await durableFetch(upstream.url, {
    method: 'PUT',
    body: 'a question',
    headers: { 'X-Session-ID': session, 'X-Request-ID': 'turn-1', 'X-Mine': 'hello' },
  })
  expect(answer.status).toBe(201)
  expect(await answer.text()).toBe('PUT said hello')
  expect(Object.fromEntries(answer.headers)).toMatchObject({
    'content-type': 'text/plain',
    'x-vendor': 'yes',
    'x-session-id': session,
    'x-request-id': 'turn-1',
    'cache-control': 'no-cache',
  })
  const [call] = upstream.calls
  expect(call?.method).toBe('PUT')
  expect(call?.body.toString()).toBe('a question')
  expect(Object.keys(call?.headers ?? {}).filter((name) => /session|proxy/.test(name))).toEqual([])
  expect(durableFetch.remembered(session)).toBeUndefined()
})

const bytes = new Uint8Array([0, 255, 13, 10])
const form = new FormData()
form.set('name', 'value')
test.each<[string, BodyInit, string | RegExp, string | RegExp | undefined]>([
  ['text', 'hällo', 'hällo', 'text/plain;charset=UTF-8'],
  ['a buffer', bytes.buffer, '\0\u{FFFD}\r\n', undefined],
  ['a view', bytes.subarray(2), '\r\n', undefined],
  ['a blob', new Blob(['hi'], { type: 'x/y' }), 'hi', 'x/y'],
  ['parameters', new URLSearchParams({ a: 'b c' }), 'a=b+c', /^application\/x-www-form-urlencoded/],
  ['a form', form, /name="name"\r\n\r\nvalue/, /^multipart\/form-data; boundary=/],
  ['a stream', new Blob(['streamed']).stream(), 'streamed', undefined],
])('a body that is %s goes up whole', async (_, body, expected, type) => {
  const upstream = await anUpstream((_, response) => response.end())
  await (await client()(upstream.url, { method: 'POST', body })).text()
  const [call] = upstream.calls
  expect(call?.body.toString()).toEqual(
    typeof expected === 'string' ? expected : expect.stringMatching(expected),
  )
  expect(call?.headers['content-type']).toEqual(
    type instanceof RegExp ? expect.stringMatching(type) : type,
  )
})

test('a Request object is as good as a URL', async () => {
  const upstream = await anUpstream((_, response) => response.end('ok'))
  const request = new Request(upstream.url, { method: 'PATCH', body: 'x', headers: { 'X-A': 'b' } })
  expect(await (await client()(request)).text()).toBe('ok')
  expect(upstream.calls).toMatchObject([{ method: 'PATCH', headers: { 'x-a': 'b' } }])
})

test('a lost connection is invisible, and the model is called once', async () => {
  const [model, relay] = [await aModel('application/octet-stream'), await aRelay()]
  const states: string[] = []
  const durableFetch = client({
    proxyUrl: relay.url,
    onConnection: (state) => states.push(state),
    timing: { backoffFirst: 20 },
  })
  const answer = await durableFetch(model.url, { method: 'POST', body: '{}' })
  const reader = answer.body!.getReader()
  let have = ''
  for (const word of ['one ', 'two ', 'thrée ', 'four ']) {
    model.say(word)
    have = await readUntil(reader, word, have)
    relay.cut()
  }
  model.say('five')
  model.end()
  have = await readUntil(reader, 'five', have)
  expect((await reader.read()).done).toBe(true)
  expect(have).toBe('one two thrée four five')
  expect(model.calls).toBe(1)
  expect(states.slice(0, 3)).toEqual(['connecting', 'connected', 'reconnecting'])
  expect(states.at(-1)).toBe('idle')
})

test('a connection that is silent is noticed', async () => {
  const [model, relay] = [await aModel(), await aRelay()]
  const durableFetch = client({ proxyUrl: relay.url, timing: { silence: 400, backoffFirst: 20 } })
  model.say('data: 1\n\n')
  const answer = await durableFetch(model.url, { method: 'POST', body: '{}' })
  const reader = answer.body!.getReader()
  await readUntil(reader, 'data: 1')
  relay.silent = true
  const rest = readUntil(reader, 'data: 2')
  model.say('data: 2\n\n')
  const before = relay.connections
  while (relay.connections === before) await new Promise((resolve) => setTimeout(resolve, 10))
  relay.silent = false
  relay.cut() // what was swallowed by the relay cannot be served any more
  expect(await rest).toContain('data: 2')
})

test('after a reload the rest is read, from the end of the last whole event on', async () => {
  const model = await aModel()
  const [storage, session] = [new MemoryStorage(), randomUUID()]
  const timing = { persistEvery: 0 }
  model.say('data: 1\n\n', 'data: 2\n\ndata: ')
  const first = await client({ storage, timing })(model.url, post(session))
  const reader = first.body!.getReader()
  await readUntil(reader, 'data: 2\n\ndata: ')
  void reader.read() // who asks for more is done with what it had
  model.say('3\n\n')
  model.end()
  const boundary = 'data: 1\n\ndata: 2\n\n'.length
  await until(() => client({ storage }).remembered(session)?.offset === boundary, 'the offset')
  const answer = await client({ storage })(model.url, resume(session))
  expect(answer.headers.get('content-type')).toBe('text/event-stream')
  expect(await answer.text()).toBe('data: 3\n\n')
  expect((await client({ storage })(model.url, resume(session))).status).toBe(204)
  expect(model.calls).toBe(1)
})

test('a replay begins at the start', async () => {
  const model = await aModel()
  const [storage, session] = [new MemoryStorage(), randomUUID()]
  model.say('data: 1\n\n')
  const durableFetch = client({ storage, timing: { persistEvery: 0 } })
  const first = await durableFetch(model.url, post(session))
  await readUntil(first.body!.getReader(), 'data: 1')
  const again = await client({ storage })(
    model.url,
    resume(session, { 'X-Replay-From-Start': 'true' }),
  )
  model.end()
  expect(await again.text()).toBe('data: 1\n\n')
})

test('another browser finds what runs by asking the proxy', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  model.say('data: 1\n\n')
  const first = await client()(model.url, post(session))
  await readUntil(first.body!.getReader(), 'data: 1')
  const other = client()
  expect(await other.active(session)).toMatchObject([{ state: 'streaming' }])
  const answer = await other(model.url, resume(session))
  model.say('data: 2\n\n')
  model.end()
  expect(await answer.text()).toBe('data: 1\n\ndata: 2\n\n')
  expect(model.calls).toBe(1)
})

test('nothing to resume is 204', async () => {
  const answer = await client()('http://127.0.0.1:1/', resume('nobody'))
  expect(answer.status).toBe(204)
  expect(answer.body).toBeNull()
})

test('the same request is sent upstream once', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  model.say('data: 1\n\n')
  model.end()
  const ask = () => client()(model.url, post(session, { 'X-Request-ID': 'turn-1' }))
  const texts = await Promise.all([ask(), ask()].map(async (answer) => (await answer).text()))
  expect(texts).toEqual(['data: 1\n\n', 'data: 1\n\n'])
  expect(model.calls).toBe(1)
})

test('an abort only leaves; stop stops the model, and says who it was', async () => {
  const [model, session, storage] = [await aModel(), randomUUID(), new MemoryStorage()]
  const durableFetch = client({ storage })
  model.say('data: 1\n\n')
  const leaving = new AbortController()
  const first = await durableFetch(model.url, { ...post(session), signal: leaving.signal })
  const reader = first.body!.getReader()
  await readUntil(reader, 'data: 1')
  const pending = reader.read()
  leaving.abort()
  await expect(pending).rejects.toMatchObject({ name: 'AbortError' })
  expect(model.upstream.disconnects).toBe(0)

  const again = await durableFetch(model.url, resume(session, { 'X-Replay-From-Start': 'true' }))
  const second = again.body!.getReader()
  await readUntil(second, 'data: 1')
  const stopped = await durableFetch.stop(session, { reason: 'enough', actor: 'alice' })
  expect(stopped).toMatchObject({ stopped: true, state: 'aborted' })
  const error = await second.read().catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(GenerationAborted)
  expect(error).toMatchObject({
    name: 'GenerationAborted',
    code: 'aborted',
    reason: 'enough',
    actor: 'alice',
    offset: 'data: 1\n\n'.length,
  })
  expect(await durableFetch.active(session)).toEqual([])
  expect(await durableFetch.stop(session)).toMatchObject({ stopped: false })
})

test('a signal that is aborted already starts nothing', async () => {
  const model = await aModel()
  const durableFetch = client()
  await expect(durableFetch(model.url, { signal: AbortSignal.abort() })).rejects.toMatchObject({
    name: 'AbortError',
  })
  expect(model.calls).toBe(0)
})

test('a body that is left at its format’s own end is not resumed', async () => {
  const [model, session] = [await aModel(), randomUUID()]
  model.say('data: [DONE]\n\n')
  model.end()
  const durableFetch = client()
  const reader = (await durableFetch(model.url, post(session))).body!.getReader()
  await readUntil(reader, '[DONE]')
  await reader.cancel()
  expect(durableFetch.remembered(session)).toBeUndefined()
})

test('what the upstream refuses is passed on with its status and body', async () => {
  const upstream = await anUpstream((_, response) => {
    response.writeHead(429, { 'content-type': 'application/json', 'retry-after': '7' })
    response.end('{"error":"slow down"}')
  })
  const session = randomUUID()
  const durableFetch = client()
  const answer = await durableFetch(upstream.url, post(session))
  expect(answer.status).toBe(429)
  expect(answer.headers.get('retry-after')).toBe('7')
  expect(await answer.json()).toEqual({ error: 'slow down' })
  expect(durableFetch.remembered(session)).toBeUndefined()
})

test('what the proxy refuses is passed on in its words', async () => {
  const answer = await client()('http://not-allowed.example/', { method: 'POST', body: '{}' })
  expect(answer.status).toBe(403)
  expect(await answer.json()).toMatchObject({ error: { code: 'upstream_not_allowed' } })
})

test('an upstream that breaks off is an error after all bytes', async () => {
  const upstream = await anUpstream((_, response) => {
    response.writeHead(200, { 'content-length': '100' })
    response.write('half', () => response.destroy())
  })
  const answer = await client()(upstream.url, { method: 'POST', body: '{}' })
  const reader = answer.body!.getReader()
  await readUntil(reader, 'half')
  const error = await reader.read().catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(GenerationTruncated)
  expect(error).toMatchObject({ code: 'upstream_truncated', offset: 4 })
})

test('a proxy that is down is an error in plain words, within its time', async () => {
  const relay = await aRelay()
  relay.down = true
  const durableFetch = client({ proxyUrl: relay.url, timing: QUICK })
  for (const ask of [
    () => durableFetch('http://127.0.0.1:1/', { method: 'POST', body: '{}' }),
    () => durableFetch('http://127.0.0.1:1/', resume('somebody')),
    () => durableFetch.stop('somebody'),
  ]) {
    const error = await ask().catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(ProxyUnreachable)
    expect((error as Error).message).toMatch(/^The chat server cannot be reached/)
  }
})

test('a proxy that swallows everything is an error within its time', async () => {
  const relay = await aRelay()
  relay.silent = true
  const durableFetch = client({ proxyUrl: relay.url, timing: { ...QUICK, silence: 100 } })
  const error = await durableFetch('http://127.0.0.1:1/', { body: '{}', method: 'POST' }).catch(
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(ProxyUnreachable)
})

test.each([
  [200, 'text/html', '<html>Log in</html>'],
  [404, 'text/html', '<html>Not found</html>'],
  [302, 'text/html', ''],
])('a server that answers %d with %s is no durable proxy', async (status, type, body) => {
  const other = await anUpstream((_, response) => {
    response.writeHead(status, { 'content-type': type, location: '/login' })
    response.end(body)
  })
  const durableFetch = client({ proxyUrl: other.url, timing: QUICK })
  for (const init of [{ method: 'POST', body: '{}' }, resume('somebody')]) {
    const asked = durableFetch('http://127.0.0.1:1/', init)
    await expect(asked).rejects.toBeInstanceOf(NotADurableProxy)
  }
})

test('a slow upstream is waited for, over several requests', async () => {
  const upstream = await anUpstream(async (_, response) => {
    await new Promise((resolve) => setTimeout(resolve, 700))
    response.end('late')
  })
  const durableFetch = client({ timing: { ...QUICK, silence: 200 } })
  const answer = await durableFetch(upstream.url, { method: 'POST', body: '{}' })
  expect(await answer.text()).toBe('late')
  expect(upstream.calls).toHaveLength(1)
})

test('headers for the proxy are asked for each time, and do not go upstream', async () => {
  const upstream = await anUpstream((_, response) => response.end('ok'))
  let asked = 0
  const headers = () => ({ 'X-Mine': `secret ${(asked += 1)}` })
  const answer = await client({ headers })(upstream.url, { method: 'POST', body: '{}' })
  await answer.text()
  expect(asked).toBeGreaterThan(1)
  expect(upstream.calls[0]?.headers).not.toHaveProperty('x-mine')
  const collides = client({ headers: { Authorization: 'a' } })
  const asks = collides(upstream.url, { headers: { authorization: 'b' } })
  await expect(asks).rejects.toThrow(/X-Proxy-Authorization/)
})
