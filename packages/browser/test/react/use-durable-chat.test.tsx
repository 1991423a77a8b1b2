import './dom.js'
import { StrictMode, memo, type ReactNode } from 'react'
import { createRoot, type Root } from 'react-dom/client'
import { renderToString } from 'react-dom/server'
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest'
import {
  DurableChatSession,
  useDurableChat,
  useSession,
  useSessionLog,
  type ChatMessage,
  type LogSnapshot,
  type SessionError,
  type UseDurableChatReturn,
} from '../../src/react/index.js'
import { until } from '../servers.js'
import { AgentServer, Service, TIMING, sessionOf, shows, texts } from '../session/harness.js'

const service = new Service(inject('sessionsUrl'))
let agents: AgentServer
let root: Root | undefined

beforeAll(async () => {
  agents = await new AgentServer().start()
})
afterEach(() => {
  root?.unmount()
  root = undefined
})
afterAll(async () => {
  await agents.end()
})

function render(node: ReactNode): HTMLElement {
  const element = document.createElement('div')
  root = createRoot(element)
  root.render(node)
  return element
}

/** `fetch`, and the views that are open at the moment. */
function countingFetch(): { fetch: typeof fetch; open: Set<AbortSignal>; opened: number } {
  const counted = { fetch: globalThis.fetch, open: new Set<AbortSignal>(), opened: 0 }
  counted.fetch = (input, init) => {
    const signal = init?.signal
    if (String(input).includes('/view') && signal) {
      counted.opened++
      counted.open.add(signal)
      signal.addEventListener('abort', () => counted.open.delete(signal))
    }
    return fetch(input, init)
  }
  return counted
}

test('a chat in strict mode: one connection, and only what changes is rendered', async () => {
  const rendered: string[] = []
  const Message = memo(function Message({ message }: { message: ChatMessage }) {
    rendered.push(message.id)
    return <p>{message.parts.map((part) => (part.type === 'text' ? part.content : '')).join('')}</p>
  })
  const views = countingFetch()
  let chat!: UseDurableChatReturn
  function Chat() {
    chat = useDurableChat({ sessionId: 'strict', url: service.url, actor: { id: 'ada' }, fetch: views.fetch, timing: TIMING })
    return chat.messages.map((one) => <Message key={one.id} message={one} />)
  }
  const page = render(
    <StrictMode>
      <Chat />
      <Chat />
    </StrictMode>,
  )
  await until(() => chat?.connectionStatus === 'connected', 'connected')
  await chat.registerAgents([{ id: 'bot', endpoint: agents.endpoint }])
  await chat.sendMessage('hi')
  const call = await agents.called(1)
  call.say('Hel')
  await until(() => page.textContent?.includes('Hel') === true, 'the first word')
  const first = chat.messages[0]?.id
  const before = rendered.filter((id) => id === first).length
  for (const word of 'lo this is an answer'.split(' ')) {
    call.say(`${word} `)
    await new Promise((done) => setTimeout(done, 5))
  }
  call.done()
  await until(() => !chat.isLoading && page.textContent === 'hiHello this is an answer '.repeat(2), 'the answer')
  expect(rendered.filter((id) => id === first).length).toBe(before)
  expect(views.opened).toBe(1)
  expect(texts(chat)).toEqual(['hi', 'Hello this is an answer '])
})

test('the last component that leaves disconnects; another session is another connection', async () => {
  const views = countingFetch()
  const watching = sessionOf(service.url, 'room-a', { actor: { id: 'bob' }, presence: false })
  await watching.connect()
  const seen: UseDurableChatReturn[] = []
  function Chat({ room }: { room: string }) {
    const chat = useDurableChat({
      ...{ sessionId: room, url: service.url, actor: { id: 'ada', name: 'Ada' }, presence: true },
      ...{ fetch: views.fetch, timing: TIMING },
    })
    seen.push(chat)
    return null
  }
  const both = (first: string | null, second: string | null): ReactNode => (
    <StrictMode>
      {first && <Chat room={first} />}
      {second && <Chat room={second} />}
    </StrictMode>
  )
  try {
    render(both('room-a', 'room-a'))
    await until(() => seen.at(-1)?.connectionStatus === 'connected', 'connected')
    expect(views.open.size).toBe(1)
    await shows(watching, (now) => now.presence[0]?.status === 'online')
    root?.render(both('room-a', null))
    await new Promise((done) => setTimeout(done, 20))
    expect(views.open.size).toBe(1)
    root?.render(both('room-b', null))
    await until(() => seen.at(-1)?.session.sessionId === 'room-b' && seen.at(-1)?.connectionStatus === 'connected', 'room-b')
    await shows(watching, (now) => now.presence[0]?.status === 'offline')
    expect(views.open.size).toBe(1)
    root?.render(both(null, null))
    await until(() => views.open.size === 0, 'no connection')
    root?.render(both('room-b', null))
    await until(() => views.open.size === 1 && seen.at(-1)?.connectionStatus === 'connected', 'back')
  } finally {
    watching.disconnect()
  }
})

test('callbacks are those of the last rendering; a session of the page is left as it was', async () => {
  const session = sessionOf(service.url, 'given')
  await session.connect()
  await session.registerAgents([{ id: 'bot', endpoint: agents.endpoint }])
  const told: string[] = []
  let log: LogSnapshot | undefined
  let roles: readonly string[] = []
  let renderings = 0
  const rolesOf = (messages: readonly ChatMessage[]): string => messages.map((one) => one.role).join()
  function Roles() {
    renderings++
    roles = useSession(session, (now) => rolesOf(now.messages)).split(',')
    return null
  }
  const Still = memo(Roles)
  function Chat({ name }: { name: string }) {
    const chat = useDurableChat({
      session,
      onFinish: (message) => told.push(`${name} ${texts({ ...chat, messages: [message] })[0]}`),
      onError: (error: SessionError) => told.push(`${name} ${error.code}`),
    })
    log = useSessionLog(name === 'first' ? null : chat.session)
    return <Still />
  }
  render(<Chat name="first" />)
  await until(() => renderings === 1, 'rendered')
  expect(log?.count).toBe(0)
  root?.render(<Chat name="second" />)
  await until(() => (log?.count ?? 0) > 0, 'the log')
  const number = agents.calls.length + 1
  await session.sendMessage('go')
  const call = await agents.called(number)
  for (const word of ['a', 'b', 'c', 'd']) {
    call.say(word)
    await shows(session, (now) => texts(now)[1]?.endsWith(word) === true)
  }
  call.done()
  await until(() => told.includes('second abcd'), 'onFinish')
  await session.fork({ atMessageId: 'nowhere' }).catch(() => undefined)
  expect(told).toEqual(['second abcd', 'second message_not_found'])
  expect(roles).toEqual(['user', 'assistant'])
  expect(renderings).toBeLessThanOrEqual(3)
  root?.unmount()
  root = undefined
  expect(session.getSnapshot().connectionStatus).toBe('connected')
  session.disconnect()
})

test('a server renders what it was given, connects nothing, and shares nothing', () => {
  const page = globalThis.window
  const sessions: DurableChatSession[] = []
  function Chat() {
    const chat = useDurableChat({
      ...{ sessionId: 'ssr', url: '/durable', actor: { id: 'ada' } },
      initialMessages: [
        {
          ...{ id: 'm', role: 'user', actorId: 'ada', isComplete: true, createdAt: '2026-01-01T00:00:00Z' },
          parts: [{ type: 'text', content: 'rendered there' }],
        },
      ],
    })
    sessions.push(chat.session)
    return <p>{texts(chat).join()}</p>
  }
  // @ts-expect-error A server has no window.
  delete globalThis.window
  try {
    expect(renderToString(<Chat />)).toBe('<p>rendered there</p>')
    renderToString(<Chat />)
  } finally {
    globalThis.window = page
  }
  expect(new Set(sessions).size).toBe(2)
  expect(sessions[0]?.getSnapshot().connectionStatus).toBe('disconnected')
})

test('without autoConnect nothing is asked until it is', async () => {
  const views = countingFetch()
  let chat!: UseDurableChatReturn
  function Chat() {
    chat = useDurableChat({ sessionId: 'later', url: service.url, autoConnect: false, fetch: views.fetch, timing: TIMING })
    return null
  }
  render(<Chat />)
  await until(() => chat !== undefined, 'rendered')
  const sending = chat.sendMessage('early')
  expect([chat.connectionStatus, views.opened]).toEqual(['disconnected', 0])
  await chat.connect()
  await sending
  await until(() => chat.messages.length === 1 && chat.pending.length === 0, 'sent')
})
