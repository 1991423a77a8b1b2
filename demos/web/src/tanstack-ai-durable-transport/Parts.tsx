import type { UIMessage } from "@tanstack/ai-client";
import { ApprovalCard, Markdown, PlainText, Thinking, ToolCard, type ToolState } from "../ui";

type Part = UIMessage["parts"][number];
type ToolCall = Extract<Part, { type: "tool-call" }>;

export type PartsProps = {
  readonly message: UIMessage;
  /** Whether more of this message may come. */
  readonly streaming: boolean;
  /** Takes the user's word about a tool call. */
  readonly onDecide: (approvalId: string, approved: boolean) => void;
};

/** What a message of TanStack AI consists of. */
export function Parts({ message, streaming, onDecide }: PartsProps) {
  const shown = message.parts.filter(isVisible);
  if (shown.length === 0) return streaming ? <Thinking /> : null;
  return shown.map((part, index) => {
    if (part.type === "tool-call") {
      return <Tool key={part.id} call={part} streaming={streaming} onDecide={onDecide} />;
    }
    if (part.type !== "text") return null;
    return message.role === "user" ? (
      <PlainText key={index} text={part.content} />
    ) : (
      <Markdown
        key={index}
        text={part.content}
        streaming={streaming && index === shown.length - 1}
      />
    );
  });
}

/** Whether there is something of this part to be seen. */
export function isVisible(part: Part): boolean {
  return part.type === "tool-call" || (part.type === "text" && part.content.trim() !== "");
}

type ToolProps = Omit<PartsProps, "message"> & { readonly call: ToolCall };

function Tool({ call, streaming, onDecide }: ToolProps) {
  const { approval } = call;
  const input = call.input ?? parsed(call.arguments);
  if (approval && approval.approved === undefined && call.output === undefined) {
    return (
      <ApprovalCard
        name={call.name}
        input={input}
        pending={streaming}
        onDecide={(approved) => onDecide(approval.id, approved)}
      />
    );
  }
  const state = toolState(call, streaming);
  return (
    <ToolCard
      name={call.name}
      state={state}
      input={input}
      output={state === "denied" ? undefined : call.output}
    />
  );
}

function toolState(call: ToolCall, streaming: boolean): ToolState {
  if (call.approval?.approved === false) return "denied";
  if (call.state === "error") return "failed";
  if (call.output !== undefined) return "done";
  if (!streaming && call.state !== "approval-responded") return "interrupted";
  return call.state === "awaiting-input" || call.state === "input-streaming" ? "writing" : "running";
}

/** Arguments as they are so far: an object once they are complete. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}
