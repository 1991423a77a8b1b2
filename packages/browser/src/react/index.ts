/** React hooks for chat sessions. */

export {
  useDurableChat,
  useSession,
  useSessionLog,
  type UseDurableChatActions,
  type UseDurableChatOptions,
  type UseDurableChatReturn,
} from './use-durable-chat.js'
export * from '../session/index.js'
