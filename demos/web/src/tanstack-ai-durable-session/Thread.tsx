import type { Approval, ChatMessage, Run } from "durable-ai-browser/session";
import { memo, useState } from "react";
import { ErrorNotice, Thinking } from "../ui";
import { Avatar } from "./Avatar";
import { Edit } from "./Edit";
import { MessageParts } from "./MessageParts";
import { CopyButton } from "./CopyButton";

/** What can be done about messages. */
export interface Actions {
  readonly regenerate: (messageId: string, content?: string) => void;
  readonly fork: (messageId: string) => void;
  readonly answer: (approvalId: string, approved: boolean) => void;
}

/** How an actor is shown. */
export interface Who {
  readonly name: string;
  readonly isAgent: boolean;
  readonly isMe: boolean;
}

type Props = {
  readonly messages: readonly ChatMessage[];
  readonly runs: readonly Run[];
  readonly approvals: readonly Approval[];
  readonly who: (actorId: string) => Who;
  readonly actions: Actions;
};

export const isOpen = (run: Run): boolean => ["queued", "running", "ending"].includes(run.status);

/** The conversation, and who is about to join in. */
export function Thread({ messages, runs, approvals, who, actions }: Props) {
  const begun = new Set(messages.map((one) => one.id));
  const silent = runs.filter((run) => isOpen(run) && !begun.has(run.messageId));
  const last = runs.at(-1);
  return (
    <>
      {messages.map((message, at) => (
        <Turn
          key={message.id}
          message={message}
          goesOn={message.role === "assistant" && messages[at - 1]?.actorId === message.actorId}
          {...{ approvals, who, actions }}
        />
      ))}
      {silent.map((run) => (
        <Waiting key={run.runId} run={run} name={who(run.agentId).name} />
      ))}
      {last?.status === "refused" && (
        <p className="aside-note" role="status" data-testid="refused-run">
          {last.code === "loop_limit"
            ? "The agents have answered each other for a while. Say something, and they go on."
            : (last.message ?? "An agent did not answer.")}
        </p>
      )}
    </>
  );
}

function Waiting({ run, name }: { readonly run: Run; readonly name: string }) {
  return (
    <article className="turn assistant" aria-label={name} data-testid="waiting">
      <Avatar id={run.agentId} name={name} isAgent />
      <div className="turn-body">
        <header className="turn-head">
          <b>{name}</b>
          {run.status === "queued" && <span>answers when it is its turn</span>}
        </header>
        {run.status !== "queued" && <Thinking label={`${name} is thinking`} />}
      </div>
    </article>
  );
}

type TurnProps = Pick<Props, "approvals" | "who" | "actions"> & {
  readonly message: ChatMessage;
  /** It goes on from the message before. */
  readonly goesOn: boolean;
};

type State = "pending" | "failed" | "stopped" | "streaming" | "done";

function stateOf(message: ChatMessage): State {
  if (message.pending) return "pending";
  if (message.error) return "failed";
  if (message.interrupted) return "stopped";
  return message.isComplete ? "done" : "streaming";
}

const Turn = memo(function Turn({ message, goesOn, approvals, who, actions }: TurnProps) {
  const [editing, setEditing] = useState(false);
  const author = who(message.actorId);
  const state = stateOf(message);
  const text = textOf(message);
  const save = (now: string) => {
    setEditing(false);
    actions.regenerate(message.id, now);
  };
  return (
    <article
      className={`turn ${message.role}${goesOn ? " goes-on" : ""}${author.isMe ? " mine" : ""}`}
      aria-label={author.name}
      aria-busy={state === "streaming"}
      data-testid={`message-${message.role}`}
      data-state={state}
      data-message={message.id}
    >
      {goesOn ? <span className="face-space" /> : <Avatar id={message.actorId} name={author.name} isAgent={author.isAgent} />}
      <div className="turn-body">
        {!goesOn && (
          <header className="turn-head">
            <b data-testid="author">{author.name}</b>
            {author.isMe && <span>you</span>}
            <time dateTime={message.createdAt}>{clock(message.createdAt)}</time>
            {state === "pending" && <span>sending …</span>}
          </header>
        )}
        {editing ? (
          <Edit text={text} onSave={save} onCancel={() => setEditing(false)} />
        ) : (
          <div className="turn-content" data-testid="content">
            <MessageParts {...{ message, approvals, who, actions }} />
          </div>
        )}
        {state === "streaming" && message.parts.length === 0 && <Thinking label={`${author.name} is answering`} />}
        {state === "stopped" && (
          <p className="turn-note" data-testid="stopped">
            Stopped. What was said stays.
          </p>
        )}
        {state === "failed" && <Failure message={message} onRetry={() => actions.regenerate(message.id)} />}
        {!editing && state !== "pending" && state !== "streaming" && (
          <div className="turn-actions">
            {text && <CopyButton text={text} />}
            {author.isMe && (
              <button type="button" className="button quiet" data-testid="edit" onClick={() => setEditing(true)}>
                Edit
              </button>
            )}
            <button
              type="button"
              className="button quiet"
              data-testid="regenerate"
              onClick={() => actions.regenerate(message.id)}
            >
              {message.role === "user" ? "Ask again" : "Regenerate"}
            </button>
            <button type="button" className="button quiet" data-testid="fork" onClick={() => actions.fork(message.id)}>
              Fork here
            </button>
          </div>
        )}
      </div>
    </article>
  );
});

const FAILURES: Readonly<Record<string, string>> = {
  orphaned: "The server went away while it answered",
  upstream_timeout: "The agent said nothing for too long",
  upstream_truncated: "The agent broke off",
  upstream_error: "The agent could not be reached",
  agent_not_found: "Nobody knows any more how to call this agent",
};

/** Why a message ended early, in plain words, and a way on. */
function Failure({ message, onRetry }: { readonly message: ChatMessage; readonly onRetry: () => void }) {
  const { code = "failed", message: told } = message.error ?? { message: "" };
  return (
    <div data-testid="failure" data-code={code}>
      <ErrorNotice
        title={FAILURES[code] ?? "The answer failed"}
        detail={`What was said so far is kept. (${told})`}
        actions={[{ label: "Try again", onClick: onRetry, testId: "retry" }]}
      />
    </div>
  );
}

function textOf(message: ChatMessage): string {
  return message.parts.map((part) => (part.type === "text" ? String(part.content) : "")).join("");
}

function clock(time: string): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? "" : date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}
