import { DurableChatSession } from 'durable-ai-browser/session'

export const session = new DurableChatSession({
  url: 'http://localhost:4001',
  sessionId: 'support-42',
  actor: { id: 'ada', name: 'Ada' },
})
session.subscribe(() => console.log(session.getSnapshot().messages.at(-1)?.parts))
await session.connect()
await session.registerAgents([{ id: 'bot', endpoint: 'http://localhost:8000/chat' }])
await session.sendMessage('Is it raining?')
