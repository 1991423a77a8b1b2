/** What is shown: the rows as the session has them, and what this client has done and not seen come back. Pure. */

import type { Write } from './outbox.js'
import type { Rows } from './rows.js'
import type { Approval, ChatMessage, MessagePart, ToolCall } from './types.js'

/** The view shows a write; what somebody else did first counts as well. */
export function isLogged(rows: Rows, write: Write): boolean {
  switch (write.kind) {
    case 'message':
      return rows.of('message').has(write.id)
    case 'approval':
      return rows.of('approval').get(write.approvalId)?.status !== 'pending'
    case 'tool-result':
      return [...rows.of('tool_call').values()].every((one) => one.id !== write.toolCallId || one.state === 'complete')
  }
}

/** A message that is not in the session yet: the last one, whatever this machine's clock says. */
export function optimisticMessage(write: Write & { kind: 'message' }, actorId: string): ChatMessage {
  return {
    id: write.id,
    role: write.role,
    parts: [{ type: 'text', content: write.content }],
    actorId,
    isComplete: true,
    createdAt: write.createdAt,
    pending: true,
  }
}

/** A call as it is with the results that are on their way. */
export function answeredCall(call: ToolCall, writes: readonly Write[]): ToolCall {
  const isAnswered = writes.some((one) => one.kind === 'tool-result' && one.toolCallId === call.id)
  if (!isAnswered || call.state === 'complete') return call
  return { ...call, state: 'complete', phase: 'answered' }
}

/** An approval as it is with the answers that are on their way. */
export function answeredApproval(approval: Approval, writes: readonly Write[], actorId: string): Approval {
  const answer = writes.find((one) => one.kind === 'approval' && one.approvalId === approval.id)
  if (answer?.kind !== 'approval' || approval.status !== 'pending') return approval
  return {
    ...approval,
    status: answer.approved ? 'approved' : 'denied',
    phase: 'answered',
    respondedBy: actorId,
    respondedAt: answer.createdAt,
  }
}

/** A message whose calls are shown with the answers that are on their way. */
export function answeredMessage(message: ChatMessage, writes: readonly Write[]): ChatMessage {
  const parts = message.parts.map((part) => writes.reduce(answeredPart, part))
  return parts.some((part, index) => part !== message.parts[index]) ? { ...message, parts } : message
}

function answeredPart(part: MessagePart, write: Write): MessagePart {
  if (part.type !== 'tool-call') return part
  if (write.kind === 'approval' && part.approval?.id === write.approvalId && part.approval.approved === undefined) {
    return { ...part, approval: { ...part.approval, approved: write.approved } }
  }
  if (write.kind === 'tool-result' && part.id === write.toolCallId && part.output === undefined) {
    return { ...part, output: write.output, error: write.error }
  }
  return part
}
