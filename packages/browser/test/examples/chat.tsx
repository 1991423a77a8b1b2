import { useDurableChat } from 'durable-ai-browser/react'

export function Chat({ room, me }: { room: string; me: { id: string; name: string } }) {
  const chat = useDurableChat({ url: '/durable', sessionId: room, actor: me })
  return (
    <form action={(form) => void chat.sendMessage(String(form.get('text')))}>
      {chat.messages.map((one) => (
        <p key={one.id}>{one.parts.map((part) => (part.type === 'text' ? part.content : ''))}</p>
      ))}
      {chat.error && <p>{chat.error.message}</p>}
      <input name="text" />
      {chat.isLoading ? <button type="button" onClick={() => chat.stop()}>Stop</button> : <button>Send</button>}
    </form>
  )
}
