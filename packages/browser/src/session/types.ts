/** What a session holds, as the session service sends it. Times are ISO 8601, by the service's clock. */

export type Role = 'user' | 'assistant' | 'system'
export type ActorType = 'user' | 'agent'
export type PresenceStatus = 'online' | 'away' | 'offline'

/** How the client stands to the session. */
export type ConnectionStatus = 'disconnected' | 'connecting' | 'connected' | 'paused' | 'error'

export interface TextPart {
  readonly type: 'text' | 'thinking'
  readonly content: string
}

export interface ToolCallPart {
  readonly type: 'tool-call'
  readonly id: string
  readonly name: string
  /** JSON text, as far as it has come. */
  readonly arguments: string
  readonly state: 'awaiting-input' | 'input-streaming' | 'input-complete' | 'approval-requested'
  readonly approval?: {
    readonly id: string
    readonly needsApproval: boolean
    readonly approved?: boolean
  }
  readonly output?: unknown
  readonly error?: string | null
}

export interface ToolResultPart {
  readonly type: 'tool-result'
  readonly toolCallId: string
  readonly content: unknown
  readonly state: 'complete' | 'error'
  readonly error?: string
}

/** Any other part, as the agent's format has it. */
export interface DataPart {
  readonly type: 'file' | 'image' | 'audio' | 'source-url' | 'source-document' | 'step-start' | `data-${string}`
  readonly [field: string]: unknown
}

export type MessagePart = TextPart | ToolCallPart | ToolResultPart | DataPart

export interface ChatMessage {
  readonly id: string
  readonly role: Role
  readonly parts: readonly MessagePart[]
  readonly actorId: string
  /** Nothing more is generated. */
  readonly isComplete: boolean
  readonly createdAt: string
  /** Why it ended early; the text so far stays. */
  readonly error?: { readonly message: string; readonly code?: string }
  readonly finishReason?: string
  /** Ended by a stop or a failure before the model was done. */
  readonly interrupted?: boolean
  readonly metadata?: Readonly<Record<string, unknown>>
  /** Sent by this client, and not in the session yet. */
  readonly pending?: true
}

/** `requested`; `answered` while the agent has yet to go on from it; `applied`. */
export type Phase = 'requested' | 'answered' | 'applied'

export interface ToolCall {
  readonly id: string
  readonly messageId: string
  readonly name: string
  readonly arguments: string
  /** `null` while the arguments are not complete. */
  readonly input: unknown
  readonly state: 'pending' | 'executing' | 'complete'
  readonly phase?: Phase
  readonly actorId: string
  readonly createdAt: string
}

export interface ToolResult {
  readonly id: string
  readonly toolCallId: string
  readonly messageId: string
  readonly output: unknown
  readonly error: string | null
  readonly actorId: string
  readonly createdAt: string
  readonly preliminary?: boolean
}

export interface Approval {
  readonly id: string
  readonly toolCallId: string
  readonly messageId: string
  readonly status: 'pending' | 'approved' | 'denied'
  readonly phase?: Phase
  readonly requestedBy: string
  readonly requestedAt: string
  readonly respondedBy: string | null
  readonly respondedAt: string | null
  readonly reason?: string
}

export interface ActiveGeneration {
  readonly messageId: string
  readonly actorId: string
  readonly startedAt: string
  readonly lastChunkSeq: number
  readonly lastChunkAt: string
}

export interface Presence {
  readonly actorId: string
  readonly actorType: ActorType
  readonly status: PresenceStatus
  readonly name?: string
  readonly lastSeenAt: string
}

/** An agent as the session shows it: nothing of how it is called. */
export interface Agent {
  readonly agentId: string
  readonly name?: string
  readonly endpoint: string
  readonly triggers?: 'all' | 'user-messages'
}

export type RunStatus =
  | 'queued'
  | 'running'
  | 'ending'
  | 'completed'
  | 'failed'
  | 'aborted'
  | 'timed_out'
  | 'orphaned'
  | 'truncated'
  | 'too_large'
  | 'refused'

/** One call of an agent. */
export interface Run {
  readonly runId: string
  readonly agentId: string
  /** Of the answer, given before the agent is called. */
  readonly messageId: string
  /** The message that asked for it. */
  readonly trigger: string
  readonly cause: 'message' | 'regenerate' | 'answer' | 'agent'
  readonly status: RunStatus
  readonly createdAt: string
  readonly startedAt?: string
  readonly endedAt?: string
  readonly code?: string
  readonly message?: string
}

export interface SessionStats {
  readonly sessionId: string
  readonly messageCount: number
  readonly userMessageCount: number
  readonly assistantMessageCount: number
  readonly toolCallCount: number
  readonly approvalCount: number
  readonly totalTokens: number
  readonly promptTokens: number
  readonly completionTokens: number
  readonly activeGenerationCount: number
  readonly firstMessageAt: string | null
  readonly lastMessageAt: string | null
  readonly skippedChunkCount: number
}

/** How the session is set up. */
export interface SessionSettings {
  readonly runPolicy?: 'enqueue' | 'reject' | 'interrupt' | 'parallel'
  readonly createdAt?: string
  readonly forkedFrom?: string
}

/** An agent, and how the service calls it. */
export interface AgentSpec {
  readonly id: string
  /** An absolute URL that the service has to allow. */
  readonly endpoint: string
  readonly name?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly triggers?: 'all' | 'user-messages'
  readonly bodyTemplate?: Readonly<Record<string, unknown>>
  readonly format?: 'openai' | 'ag-ui' | 'tanstack' | 'vercel'
}

/** Every collection of a session. Each keeps its identity until something in it changes. */
export interface SessionCollections {
  readonly messages: readonly ChatMessage[]
  readonly activeGenerations: readonly ActiveGeneration[]
  readonly toolCalls: readonly ToolCall[]
  readonly toolResults: readonly ToolResult[]
  readonly approvals: readonly Approval[]
  readonly presence: readonly Presence[]
  readonly agents: readonly Agent[]
  readonly runs: readonly Run[]
}
