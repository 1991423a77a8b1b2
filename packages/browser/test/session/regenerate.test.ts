import { afterAll, beforeAll, expect, test } from 'vitest'
import { SessionService } from '../servers.js'
import { AgentServer, sessionOf, shows, texts } from './harness.js'

let service: SessionService
let agents: AgentServer

beforeAll(async () => {
  ;[service, agents] = await Promise.all([new SessionService().start(), new AgentServer().start()])
})
afterAll(async () => {
  await service[Symbol.asyncDispose]()
  await agents.end()
})

test('from any message on, in the same words or in others, for everybody', async () => {
  agents.answer((call) => {
    call.say(`you said ${call.body.messages.at(-1)?.content}`)
    call.done()
  })
  const ada = sessionOf(service.url, 'again', { actor: { id: 'ada' } })
  const bob = sessionOf(service.url, 'again', { actor: { id: 'bob' } })
  await ada.connect()
  await ada.registerAgents([{ id: 'bot', endpoint: agents.endpoint }])
  await bob.connect()
  const first = await ada.sendMessage('one')
  await shows(ada, (now) => !now.isLoading && now.messages.length === 2)
  await ada.sendMessage('two')
  await shows(ada, (now) => !now.isLoading && now.messages.length === 4)

  await ada.regenerate(first, { content: 'three' })
  await shows(bob, (now) => !now.isLoading && texts(now).join() === 'three,you said three')
  const answer = bob.getSnapshot().messages[1]
  await bob.regenerate(answer?.id ?? '')
  const again = await shows(ada, (now) => !now.isLoading && now.messages[1]?.isComplete === true && now.messages[1].id !== answer?.id)
  expect(texts(again)).toEqual(['three', 'you said three'])
  await expect(bob.regenerate('nothing')).rejects.toMatchObject({ kind: 'not_found' })
  ada.disconnect()
  bob.disconnect()
})
