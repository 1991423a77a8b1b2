import '../react/dom.js'
import { readFileSync } from 'node:fs'
import { createRoot } from 'react-dom/client'
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest'
import { until } from '../servers.js'
import { AgentServer, Service, shows, texts } from '../session/harness.js'

const service = new Service(inject('sessionsUrl'))
let agents: AgentServer

beforeAll(async () => {
  agents = await new AgentServer().start()
  const ask = globalThis.fetch
  vi.stubGlobal('fetch', (input: string, init?: RequestInit) => {
    const body = typeof init?.body === 'string' ? { body: init.body.replace('http://localhost:8000/chat', agents.endpoint) } : {}
    return ask(input.replace(/^(http:\/\/localhost:4001|\/durable)/, service.url), { ...init, ...body })
  })
})
afterAll(async () => {
  vi.unstubAllGlobals()
  await agents.end()
})

test.each(['chat.tsx', 'session.ts'])('the README has %s', (name) => {
  const source = readFileSync(new URL(name, import.meta.url), 'utf8').trim()
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
  expect(readme).toContain(`\`\`\`${name.split('.')[1]}\n${source}\n\`\`\``)
})

test('the session of the README answers', async () => {
  const log = vi.spyOn(console, 'log').mockReturnValue(undefined)
  agents.answer((call) => (call.say('It is.'), call.done()))
  const { session } = await import('./session.js')
  await shows(session, (now) => texts(now)[1] === 'It is.')
  await until(() => JSON.stringify(log.mock.calls).includes('It is.'), 'a log')
  session.disconnect()
  log.mockRestore()
})

test('the component of the README is a chat', async () => {
  const { Chat } = await import('./chat.js')
  const element = document.body.appendChild(document.createElement('div'))
  const root = createRoot(element)
  root.render(<Chat room="support-42" me={{ id: 'bob', name: 'Bob' }} />)
  try {
    await until(() => element.textContent?.includes('It is.') === true, 'what was said before')
    expect(element.querySelector('button')?.textContent).toBe('Send')
  } finally {
    root.unmount()
  }
})
