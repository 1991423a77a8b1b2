import { getToolName, isToolUIPart, type UIMessage } from "ai";
import { ApprovalCard, Markdown, PlainText, Thinking, ToolCard, type ToolState } from "../ui";

type Part = UIMessage["parts"][number];

export type PartsProps = {
  readonly message: UIMessage;
  /** Whether more of this message may come. */
  readonly streaming: boolean;
  /** Takes the user's word about a tool call. */
  readonly onDecide: (approvalId: string, approved: boolean) => void;
};

/** What a message of the AI SDK consists of. */
export function Parts({ message, streaming, onDecide }: PartsProps) {
  const shown = message.parts.filter((part) => part.type === "text" || isToolUIPart(part));
  if (shown.length === 0) return streaming ? <Thinking /> : null;
  return shown.map((part, index) => {
    const live = streaming && index === shown.length - 1;
    if (part.type === "text") {
      return message.role === "user" ? (
        <PlainText key={index} text={part.text} />
      ) : (
        <Markdown key={index} text={part.text} streaming={live} />
      );
    }
    return <Tool key={index} part={part} streaming={streaming} onDecide={onDecide} />;
  });
}

function Tool({ part, streaming, onDecide }: { part: Part } & Omit<PartsProps, "message">) {
  if (!isToolUIPart(part)) return null;
  const name = getToolName(part);
  if (part.state === "approval-requested") {
    const { id } = part.approval;
    return (
      <ApprovalCard
        name={name}
        input={part.input}
        pending={streaming}
        onDecide={(approved) => onDecide(id, approved)}
      />
    );
  }
  return (
    <ToolCard
      name={name}
      state={toolState(part.state, streaming)}
      input={part.input}
      output={part.output}
      error={part.errorText}
    />
  );
}

function toolState(state: string, streaming: boolean): ToolState {
  switch (state) {
    case "output-available":
      return "done";
    case "output-error":
      return "failed";
    case "output-denied":
      return "denied";
    case "input-streaming":
      return streaming ? "writing" : "interrupted";
    default:
      return streaming ? "running" : "interrupted";
  }
}
