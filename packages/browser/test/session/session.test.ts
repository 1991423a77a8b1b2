import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest'
import type { DurableChatSession } from '../../src/session/index.js'
import { until } from '../servers.js'
import { AgentServer, Service, sessionOf, shows, texts, type AgentCall } from './harness.js'

const service = new Service(inject('sessionsUrl'))
let agents: AgentServer
const opened: DurableChatSession[] = []

function open(...given: Parameters<typeof sessionOf>): DurableChatSession {
  const session = sessionOf(...given)
  opened.push(session)
  return session
}

beforeAll(async () => {
  agents = await new AgentServer().start()
})
afterEach(() => {
  for (const session of opened.splice(0)) session.disconnect()
})
afterAll(async () => {
  await agents.end()
})

/** A session with an agent, and the next call of that. */
async function talking(sessionId: string): Promise<[DurableChatSession, () => Promise<AgentCall>]> {
  const session = open(service.url, sessionId)
  await session.connect()
  await session.registerAgents([{ id: 'bot', endpoint: agents.endpoint }])
  let number = agents.calls.length
  return [session, () => agents.called(++number)]
}

describe('a session of two', () => {
  test('both see the same, word by word', async () => {
    const ada = open(service.url, 'two', { presence: true, actor: { id: 'ada', name: 'Ada' } })
    const bob = open(service.url, 'two', { presence: true, actor: { id: 'bob', name: 'Bob' } })
    await ada.connect()
    await ada.registerAgents([{ id: 'bot', endpoint: agents.endpoint, name: 'Bot' }])
    await bob.connect()
    const sending = ada.sendMessage('hello 🙂')
    expect(ada.getSnapshot().messages.at(-1)).toMatchObject({ role: 'user', pending: true, actorId: 'ada' })
    await sending
    const call = await agents.called(1)
    expect(call.body.messages.at(-1)?.content).toBe('hello 🙂')
    await shows(bob, (now) => now.isLoading && now.messages.length === 1)
    call.say('Good ', 'day 👩‍🚀')
    await shows(bob, (now) => texts(now)[1] === 'Good day 👩‍🚀')
    const first = bob.getSnapshot().messages[0]
    call.say(', both of you')
    call.done()
    const seen = await shows(bob, (now) => !now.isLoading && texts(now)[1] === 'Good day 👩‍🚀, both of you')
    expect(seen.messages[0]).toBe(first)
    expect(seen.messages[1]?.isComplete).toBe(true)
    const own = await shows(ada, (now) => !now.isLoading && now.pending.length === 0)
    expect(own.messages).toEqual(seen.messages)
    const both = await shows(ada, (now) => now.presence.length === 2)
    expect(both.presence.map((one) => [one.name, one.status])).toEqual([
      ['Ada', 'online'],
      ['Bob', 'online'],
    ])
    expect(both.agents).toEqual([{ agentId: 'bot', endpoint: agents.endpoint, name: 'Bot' }])
    expect(both.runs.map((run) => run.status)).toEqual(['completed'])
    expect(both.stats?.messageCount).toBe(2)
    bob.disconnect()
    await shows(ada, (now) => now.presence.find((one) => one.actorId === 'bob')?.status === 'offline')
  })
})

describe('what agents ask', () => {
  test('an approval is shown as answered at once, and goes from requested over answered to applied', async () => {
    const [session, call] = await talking('approval')
    const phases: (string | undefined)[] = []
    session.subscribe(() => {
      const phase = session.getSnapshot().approvals[0]?.phase
      if (phase !== phases.at(-1)) phases.push(phase)
    })
    await session.sendMessage('delete it')
    const asking = await call()
    asking.askApproval('ok-1', 'call-1', 'rm', { file: 'x' })
    asking.done('tool_calls')
    const asked = await shows(session, (now) => now.approvals.length === 1 && !now.isLoading)
    expect(asked.approvals[0]).toMatchObject({ id: 'ok-1', toolCallId: 'call-1', status: 'pending', phase: 'requested' })
    expect(asked.toolCalls[0]).toMatchObject({ name: 'rm', input: { file: 'x' } })
    const part = asked.messages[1]?.parts.find((one) => one.type === 'tool-call')
    expect(part).toMatchObject({ state: 'approval-requested', approval: { id: 'ok-1', needsApproval: true } })
    const answering = session.addToolApprovalResponse({ id: 'ok-1', approved: true })
    const shown = session.getSnapshot()
    expect(shown.approvals[0]).toMatchObject({ status: 'approved', phase: 'answered', respondedBy: 'ada' })
    expect(shown.messages[1]?.parts.find((one) => one.type === 'tool-call')).toMatchObject({ approval: { approved: true } })
    await answering
    const going = await call()
    going.say('deleted')
    going.done()
    const applied = await shows(session, (now) => now.approvals[0]?.phase === 'applied' && !now.isLoading)
    expect(texts(applied).at(-1)).toBe('deleted')
    expect(applied.approvals[0]).toMatchObject({ status: 'approved', respondedBy: 'ada' })
    expect(applied.pending).toEqual([])
    expect(phases.filter((one) => one !== undefined)).toEqual(['requested', 'answered', 'applied'])
    await session.addToolApprovalResponse({ id: 'ok-1', approved: true })
    await expect(session.addToolApprovalResponse({ id: 'ok-1', approved: false })).rejects.toMatchObject({
      code: 'already_answered',
    })
    session.dismiss(session.getSnapshot().refused[0]?.write.id ?? '')
    expect(session.getSnapshot().refused).toEqual([])
  })

  test('a tool that runs here: its result is shown at once, and the agent goes on', async () => {
    const [session, call] = await talking('tool')
    await session.sendMessage('what time is it?')
    const asking = await call()
    asking.callTool('call-2', 'clock', {})
    asking.done('tool_calls')
    await shows(session, (now) => now.toolCalls[0]?.input !== undefined && !now.isLoading)
    void session.addToolResult({ toolCallId: 'call-2', output: { time: '12:00' } })
    const part = session.getSnapshot().messages[1]?.parts.find((one) => one.type === 'tool-call')
    expect(part).toMatchObject({ output: { time: '12:00' } })
    expect(session.getSnapshot().toolCalls[0]?.state).toBe('complete')
    const going = await call()
    expect(JSON.stringify(going.body.messages)).toContain('12:00')
    going.say('noon')
    going.done()
    const done = await shows(session, (now) => now.toolCalls[0]?.phase === 'applied' && texts(now).includes('noon'))
    expect(done.toolResults[0]).toMatchObject({ toolCallId: 'call-2', output: { time: '12:00' }, actorId: 'ada' })
  })
})

test('stop ends what agents say, everywhere, and keeps what they have said', async () => {
  const [session, call] = await talking('stop')
  const finished: string[] = []
  session.on('finish', (message) => finished.push(message.finishReason ?? ''))
  const other = open(service.url, 'stop', { actor: { id: 'bob' } })
  await other.connect()
  await other.sendMessage('go')
  const speaking = await call()
  speaking.say('and so on')
  await shows(session, (now) => texts(now)[1] === 'and so on')
  await session.stop()
  for (const one of [session, other]) {
    const now = await shows(one, (snapshot) => !snapshot.isLoading)
    expect(now.messages[1]).toMatchObject({ isComplete: true, interrupted: true, parts: [{ content: 'and so on' }] })
  }
  expect(finished).toEqual(['aborted'])
  await session.stop()
})

test('reload has the last message answered again', async () => {
  const [session, call] = await talking('reload')
  const finished: string[] = []
  session.on('finish', (message) => finished.push(texts({ messages: [message] } as never)[0] ?? ''))
  await session.sendMessage('a riddle, please')
  const first = await call()
  first.say('no')
  first.done()
  await shows(session, (now) => texts(now)[1] === 'no' && !now.isLoading)
  await session.reload()
  const second = await call()
  expect(second.body.messages.map((one) => one.content)).toEqual(['a riddle, please'])
  second.say('yes')
  second.done()
  await shows(session, (now) => texts(now).join() === 'a riddle, please,yes' && !now.isLoading)
  expect(finished).toEqual(['no', 'yes'])
  const late = open(service.url, 'reload')
  late.on('finish', () => finished.push('again'))
  await late.connect()
  expect(texts(late.getSnapshot())).toEqual(['a riddle, please', 'yes'])
  expect(finished.length).toBe(2)
})

test('a fork has what was said before, and goes its own way', async () => {
  const [session] = await talking('fork')
  await session.unregisterAgent('bot')
  await session.append({ role: 'assistant', content: 'welcome' })
  const id = await session.sendMessage('one')
  await session.sendMessage('two')
  await shows(session, (now) => now.agents.length === 0 && now.messages.length === 3)
  expect(session.getSnapshot().messages[0]?.role).toBe('assistant')
  const { sessionId } = await session.fork({ atMessageId: id })
  const forked = open(service.url, sessionId, { create: false })
  await forked.connect()
  expect(texts(forked.getSnapshot())).toEqual(['welcome', 'one'])
  expect(forked.getSnapshot().settings.forkedFrom).toBe('fork')
  await forked.sendMessage('three')
  await shows(forked, (now) => texts(now).join() === 'welcome,one,three' && now.pending.length === 0)
  expect(texts(session.getSnapshot())).toEqual(['welcome', 'one', 'two'])
  await expect(session.fork({ atMessageId: 'nowhere' })).rejects.toMatchObject({ code: 'message_not_found' })
  expect(session.getSnapshot().error?.code).toBe('message_not_found')
})

test('clear hides what there is, here; pause stops reading, and what is written is sent all the same', async () => {
  const session = open(service.url, 'clear')
  const other = open(service.url, 'clear', { actor: { id: 'bob' } })
  await Promise.all([session.connect(), other.connect()])
  await session.sendMessage('old')
  await shows(session, (now) => now.pending.length === 0)
  session.clear()
  expect(session.getSnapshot().messages).toEqual([])
  session.pause()
  expect(session.getSnapshot().connectionStatus).toBe('paused')
  await session.sendMessage('new')
  await shows(other, (now) => texts(now).join() === 'old,new')
  expect(session.getSnapshot().messages.map((one) => one.pending)).toEqual([true])
  await session.resume()
  await shows(session, (now) => texts(now).join() === 'new' && now.messages[0]?.pending === undefined)
  await expect(session.sendMessage('')).rejects.toMatchObject({ kind: 'invalid' })
})

test('the same person in two tabs is here until the last one is closed', async () => {
  const watching = open(service.url, 'tabs', { actor: { id: 'bob' } })
  await watching.connect()
  const tabs = [1, 2].map(() => open(service.url, 'tabs', { presence: true, actor: { id: 'ada', name: 'Ada' } }))
  await Promise.all(tabs.map((one) => one.connect()))
  await shows(watching, (now) => now.presence[0]?.status === 'online')
  const seen: (string | undefined)[] = []
  watching.subscribe(() => seen.push(watching.getSnapshot().presence[0]?.status))
  tabs[0]?.disconnect()
  await until(() => seen.includes('offline') && seen.at(-1) === 'online', 'here again')
  tabs[1]?.update({ name: 'Ada L.' })
  await shows(watching, (now) => now.presence[0]?.name === 'Ada L.')
  await tabs[1]?.setPresence('away')
  await shows(watching, (now) => now.presence[0]?.status === 'away')
  tabs[1]?.disconnect()
  await shows(watching, (now) => now.presence[0]?.status === 'offline')
})

test('the log is read row by row, from the beginning and live', async () => {
  const [session, call] = await talking('log')
  await session.sendMessage('hi')
  const log = session.openLog()
  const tail = session.openLog({ limit: 2 })
  try {
    await until(() => log.getSnapshot().rows.some((row) => row.type === 'run'), 'what was there')
    const speaking = await call()
    speaking.say('hello')
    speaking.done()
    const chunks = (): unknown[] => log.getSnapshot().rows.filter((row) => row.type === 'chunk').map((row) => row.value)
    await until(() => chunks().some((one) => JSON.stringify(one).includes('hello')), 'what came live')
    expect(chunks()[0]).toMatchObject({ role: 'user', seq: 0, actorId: 'ada' })
    await until(() => tail.getSnapshot().count === log.getSnapshot().count, 'the same count')
    expect(tail.getSnapshot().rows.map((row) => row.number)).toEqual([tail.getSnapshot().count - 2, tail.getSnapshot().count - 1])
  } finally {
    log.close()
    tail.close()
  }
  const lost = open(service.url, 'nowhere').openLog()
  await until(() => lost.getSnapshot().error?.kind === 'not_found', 'an error')
  lost.close()
})
