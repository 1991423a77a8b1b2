import type { UIMessage } from "@tanstack/ai-client";
import { useChat } from "@tanstack/ai-react";
import { type ConnectionState, GenerationNotFound, type StorageState } from "durable-ai-browser";
import type { DurableTransport } from "durable-ai-browser/tanstack";
import { useState } from "react";
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
  useOnline,
  Welcome,
} from "../ui";
import { isVisible, Parts } from "./Parts";

export type ChatPageProps = {
  readonly page: PageSession;
  readonly model: string;
  readonly durable: DurableTransport;
  readonly connection: ConnectionState;
  readonly storage: StorageState;
};

/** The chat: `useChat`, and what the page shows of it. */
export function ChatPage({ page, model, durable, connection, storage }: ChatPageProps) {
  const chat = useChat(durable.durableSession);
  const { isFollowing, isStopped, cut, error } = durable.useDurability(chat);
  const online = useOnline();
  const [stopping, setStopping] = useState(false);
  const [stopError, setStopError] = useState<Error>();
  const { messages } = chat;
  const last = messages.at(-1);
  const busy = chat.isLoading || isFollowing || stopping;
  const shown = messages.filter((message) => !isEmpty(message) || (busy && message === last));
  const failure = stopError ?? error ?? chat.error;
  const isUnanswered = shown.at(-1)?.role === "user";
  const never = isUnanswered && failure instanceof GenerationNotFound;

  const send = (text: string) => {
    setStopError(undefined);
    void chat.sendMessage(text);
  };
  const retry = () => {
    setStopError(undefined);
    void chat.reload();
  };
  const stop = async () => {
    setStopping(true);
    try {
      await durable.stop({ reason: "stopped on the page" });
    } catch (reason) {
      setStopError(reason as Error);
    } finally {
      setStopping(false);
    }
  };

  return (
    <Shell
      title="Durable chat"
      subtitle={`TanStack AI · ${model}`}
      badge={
        <ConnectionBadge
          state={badge(online ? connection : "offline", busy, last?.role === "assistant", failure)}
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
          <StorageNotice state={storage} />
          <Composer
            draftKey={page.session}
            busy={busy}
            stopping={stopping}
            onSend={send}
            onStop={() => void stop()}
            hint="Enter sends, Shift + Enter breaks the line, Escape stops"
          />
        </>
      }
    >
      <MessageList>
        {messages.length === 0 && (
          <LinkNotice
            page={page}
            idle={!busy && !failure && connection === "idle" && storage !== "unreadable"}
          />
        )}
        {messages.length === 0 && (
          <Welcome
            title="Answers that survive anything"
            text="Ask for something long and then be unkind: reload the page, open it in a second tab, go offline, or kill the server."
            onPick={send}
          />
        )}
        {shown.map((message) => {
          const stopped = isStopped && !busy && message === last && message.role === "assistant";
          return (
            <Message
              key={message.id}
              role={message.role}
              note={
                (stopped || cut.includes(message.id)) && (
                  <Stopped onRetry={stopped ? retry : undefined} />
                )
              }
            >
              <Parts
                message={message}
                streaming={busy && message === last}
                onDecide={(id, approved) => void chat.addToolApprovalResponse({ id, approved })}
              />
            </Message>
          );
        })}
        {busy && last?.role === "user" && (
          <Message role="assistant">
            <Thinking />
          </Message>
        )}
        {failure && !never && (stopError || !busy) && (
          <ErrorNotice
            {...explain(failure)}
            actions={
              busy || !last ? [] : [{ label: "Try again", onClick: retry, testId: "retry" }]
            }
          />
        )}
        {!busy && isUnanswered && (never || !failure) && (
          <ErrorNotice
            tone="mild"
            title="Nothing came of this message"
            detail="It was stopped before the first word, or the page was left before it was sent."
            actions={[{ label: "Ask again", onClick: retry, testId: "retry" }]}
          />
        )}
      </MessageList>
    </Shell>
  );
}

function Stopped({ onRetry }: { onRetry: (() => void) | undefined }) {
  return (
    <>
      Stopped before its end
      {onRetry && (
        <button type="button" data-testid="ask-again" onClick={onRetry}>
          Ask again
        </button>
      )}
    </>
  );
}

/** An answer that failed or was stopped before its first word is in the list, too. */
function isEmpty(message: UIMessage): boolean {
  return !message.parts.some(isVisible);
}

function badge(
  connection: ConnectionState,
  busy: boolean,
  begun: boolean,
  failure: Error | undefined,
): Connection {
  if (connection === "offline") return "offline";
  if (!busy) return failure ? "interrupted" : "ready";
  if (connection === "reconnecting") return "reconnecting";
  if (connection === "connecting") return begun ? "resuming" : "connecting";
  return "streaming";
}
