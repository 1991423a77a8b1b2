import type { Approval, ChatMessage, ToolCallPart, ToolResultPart } from "durable-ai-browser/session";
import { ApprovalCard, ToolCard, type ToolState } from "../ui";
import type { Actions, Who } from "./Thread";

type Props = {
  readonly part: ToolCallPart;
  readonly result: ToolResultPart | undefined;
  readonly message: ChatMessage;
  readonly approvals: readonly Approval[];
  readonly who: (actorId: string) => Who;
  readonly actions: Actions;
};

/**
 * A tool call: what it is called with while that is written, what it gave, and whether it may be
 * called at all. Anybody may answer that; the first answer counts, and all see whose it was.
 */
export function Tool({ part, result, message, approvals, who, actions }: Props) {
  const approval = approvals.find((one) => one.id === part.approval?.id);
  if (approval?.status === "pending" && !message.error) {
    return (
      <ApprovalCard
        name={part.name}
        input={inputOf(part.arguments)}
        onDecide={(approved) => actions.answer(approval.id, approved)}
      />
    );
  }
  const error = result?.error ?? part.error ?? undefined;
  const output = result ? result.content : part.output;
  const state = stateOf(part, approval, message, { error, output });
  return (
    <div className="tool" data-testid="tool-call" data-tool={part.name} data-state={state}>
      <ToolCard
        name={part.name}
        state={state}
        input={state === "writing" ? part.arguments : inputOf(part.arguments)}
        output={inputOf(output)}
        error={state === "failed" ? error : undefined}
        {...(state === "writing" ? { open: true } : {})}
      />
      {approval && <Answer approval={approval} who={who} />}
    </div>
  );
}

function stateOf(
  part: ToolCallPart,
  approval: Approval | undefined,
  message: ChatMessage,
  { error, output }: { error: string | undefined; output: unknown },
): ToolState {
  if (approval?.status === "denied") return "denied";
  const broken = message.interrupted === true || message.error !== undefined;
  if (error !== undefined) return broken ? "interrupted" : "failed";
  if (output !== undefined && output !== null) return "done";
  if (message.isComplete && broken) return "interrupted";
  const written = part.state !== "awaiting-input" && part.state !== "input-streaming";
  return approval || written ? "running" : "writing";
}

/** Who has decided. */
function Answer({ approval, who }: { readonly approval: Approval } & Pick<Props, "who">) {
  const by = approval.respondedBy === null ? undefined : who(approval.respondedBy);
  const name = by ? (by.isMe ? "you" : by.name) : "somebody";
  const interrupted = approval.status === "denied" && by?.isAgent === true;
  return (
    <p className="answer" data-testid="decision" data-status={approval.status}>
      {interrupted
        ? "The answer was interrupted before anybody decided."
        : `${approval.status === "approved" ? "Approved" : "Denied"} by ${name}`}
    </p>
  );
}

/** JSON out of a text, or the text. */
function inputOf(value: unknown): unknown {
  if (typeof value !== "string") return value;
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return value;
  }
}
