import type { Approval, ChatMessage, MessagePart, TextPart, ToolCallPart, ToolResultPart } from "durable-ai-browser/session";
import { Markdown, PlainText } from "../ui";
import type { Actions, Who } from "./Thread";
import { Tool } from "./Tool";

type Props = {
  readonly message: ChatMessage;
  readonly approvals: readonly Approval[];
  readonly who: (actorId: string) => Who;
  readonly actions: Actions;
};

/** What a message consists of, in order: text, thoughts, tool calls with what became of them. */
export function MessageParts({ message, approvals, who, actions }: Props) {
  const results = new Map(message.parts.filter(isResult).map((part) => [part.toolCallId, part]));
  const last = message.parts.length - 1;
  return message.parts.map((part, at) => {
    // A part keeps its place, so its place is its key.
    if (isText(part)) {
      const streaming = !message.isComplete && at === last;
      if (part.type === "thinking") return <Thoughts key={at} text={part.content} streaming={streaming} />;
      if (message.role === "user") return <PlainText key={at} text={part.content} />;
      return <Markdown key={at} text={part.content} streaming={streaming} />;
    }
    if (!isCall(part)) return null;
    return <Tool key={at} part={part} result={results.get(part.id)} {...{ message, approvals, who, actions }} />;
  });
}

const isText = (part: MessagePart): part is TextPart => part.type === "text" || part.type === "thinking";
const isCall = (part: MessagePart): part is ToolCallPart => part.type === "tool-call";
const isResult = (part: MessagePart): part is ToolResultPart => part.type === "tool-result";

function Thoughts({ text, streaming }: { readonly text: string; readonly streaming: boolean }) {
  return (
    <details className="thoughts" open={streaming}>
      <summary>{streaming ? "Thinking …" : "Thoughts"}</summary>
      <p>{text}</p>
    </details>
  );
}
