import { type ChatStatus, isToolUIPart, type UIMessage } from "ai";
import { type ConnectionState, ProxyError, type StorageState } from "durable-ai-browser";
import { useEffect, useState } from "react";
import {
  Composer,
  type Connection,
  ConnectionBadge,
  CopyLink,
  ErrorNotice,
  explain,
  LinkNotice,
  Message,
  MessageList,
  NewChat,
  type PageSession,
  Shell,
  StorageNotice,
  Thinking,
  Welcome,
} from "../ui";
import { Parts } from "./Parts";

export type ChatPageProps = {
  readonly page: PageSession;
  readonly model: string;
  readonly messages: readonly UIMessage[];
  readonly status: ChatStatus;
  readonly error: Error | undefined;
  readonly connection: ConnectionState;
  readonly storage: StorageState;
  readonly onSend: (text: string) => void;
  readonly onStop: () => void;
  readonly onRetry: () => void;
  readonly onDecide: (approvalId: string, approved: boolean) => void;
};

/** What the page shows of a chat. */
export function ChatPage(props: ChatPageProps) {
  const { page, model, messages, status, error, connection, onSend, onStop, onRetry } = props;
  const [stopping, setStopping] = useState(false);
  const asked = status === "submitted" || status === "streaming";
  const resuming = status === "ready" && messages.length > 0 && isOnItsWay(connection);
  const busy = asked || resuming;
  useEffect(() => setStopping(false), [busy]);
  const last = messages.at(-1);

  return (
    <Shell
      title="Durable chat"
      subtitle={`Vercel AI SDK · ${model}`}
      badge={
        <ConnectionBadge
          state={badge(connection, asked, messages.length > 0, error)}
          label={error instanceof ProxyError && !isOnItsWay(connection) ? "Not connected" : undefined}
        />
      }
      actions={
        <>
          <CopyLink />
          <NewChat />
        </>
      }
      footer={
        <>
          <StorageNotice state={props.storage} />
          <Composer
            draftKey={page.session}
            busy={busy}
            stopping={stopping}
            onSend={onSend}
            onStop={() => {
              setStopping(true);
              onStop();
            }}
            hint="Enter sends, Shift + Enter breaks the line"
          />
        </>
      }
    >
      <MessageList>
        {messages.length === 0 && <Beginning {...props} />}
        {messages.map((message) => {
          const live = busy && message === last;
          const isLast = message === last;
          const cut = !live && !(error && isLast) && isCut(message);
          return (
            <Message
              key={message.id}
              role={message.role}
              note={cut && (isLast ? <Stopped onRetry={onRetry} /> : "Not complete")}
            >
              <Parts message={message} streaming={live} onDecide={props.onDecide} />
            </Message>
          );
        })}
        {asked && last?.role === "user" && (
          <Message role="assistant">
            <Thinking />
          </Message>
        )}
        {error && messages.length > 0 && (
          <Failure error={error} onRetry={canRetry(error, messages) ? onRetry : undefined} />
        )}
      </MessageList>
    </Shell>
  );
}

function Beginning({ page, error, connection, storage, onSend, onRetry }: ChatPageProps) {
  return (
    <>
      <LinkNotice
        page={page}
        idle={!error && connection === "idle" && storage !== "unreadable"}
      />
      <Welcome
        title="Answers that survive anything"
        text="Ask for something long and then be unkind: reload the page, open it in a second tab, go offline, or kill the server."
        onPick={onSend}
      />
      {error && <Failure error={error} onRetry={onRetry} />}
    </>
  );
}

function Failure({ error, onRetry }: { error: Error; onRetry: (() => void) | undefined }) {
  const actions = onRetry ? [{ label: "Try again", onClick: onRetry, testId: "retry" }] : [];
  return <ErrorNotice {...explain(error)} actions={actions} />;
}

function Stopped({ onRetry }: { onRetry: () => void }) {
  return (
    <>
      Stopped before its end
      <button type="button" data-testid="ask-again" onClick={onRetry}>
        Ask again
      </button>
    </>
  );
}

/** Whether there is something to be read again, or a question here that can be asked again. */
function canRetry(error: Error, messages: readonly UIMessage[]): boolean {
  return error instanceof ProxyError || messages.some((message) => message.role === "user");
}

/** Whether a part of the message has not come to its end. */
function isCut(message: UIMessage): boolean {
  return message.parts.some((part) =>
    isToolUIPart(part)
      ? part.state === "input-streaming" || part.state === "input-available"
      : part.type === "text" && part.state === "streaming",
  );
}

function isOnItsWay(connection: ConnectionState): boolean {
  return connection === "connecting" || connection === "reconnecting";
}

function badge(
  connection: ConnectionState,
  asked: boolean,
  begun: boolean,
  error: Error | undefined,
): Connection {
  if (connection === "offline") return "offline";
  if (connection === "reconnecting") return "reconnecting";
  if (connection === "connecting") return asked || !begun ? "connecting" : "resuming";
  if (asked) return "streaming";
  return error ? "interrupted" : "ready";
}
