import type { UseDurableChatReturn } from "durable-ai-browser/react";
import type { SessionError, SessionErrorKind } from "durable-ai-browser/session";
import { ErrorNotice } from "../ui";
import { addressOf } from "./rooms";

const TITLES: Partial<Record<SessionErrorKind, string>> = {
  not_found: "This session is not here any more",
  gone: "This session was deleted",
  forbidden: "This session is not open to you",
  protocol: "What answers is not the session service",
  unreachable: "The server cannot be reached",
};

const LOST =
  "Somebody has deleted it, or the server has lost it. What you see here is what is left: copy what you want to keep before you leave the page.";

/** Whether the session itself is not there, as opposed to something in it. */
export const isLost = (error: SessionError): boolean => error.kind === "gone" || error.code === "session_not_found";

type Props = {
  readonly chat: UseDurableChatReturn;
  readonly fork: string | undefined;
  readonly onForkSeen: () => void;
  readonly onNew: () => void;
};

/** What went wrong, in plain words, with a way on; and the fork that was made. */
export function Notices({ chat, fork, onForkSeen, onNew }: Props) {
  const { error, connectionStatus } = chat;
  return (
    <div className="notices">
      {fork && (
        <div className="notice done" role="status" data-testid="forked">
          <div className="notice-text">
            <p className="notice-title">The fork is ready</p>
            <p className="notice-detail">It has everything up to that message, and goes its own way from there.</p>
          </div>
          <div className="notice-actions">
            <a className="button primary" href={addressOf(fork)} target="_blank" rel="noopener" data-testid="fork-link" onClick={onForkSeen}>
              Open it
            </a>
            <button type="button" className="button" onClick={onForkSeen}>
              Later
            </button>
          </div>
        </div>
      )}
      {chat.refused.map(({ write, error: why }) => (
        <ErrorNotice
          key={write.id}
          title="Not sent"
          detail={`${write.kind === "message" ? `“${write.content}” ` : ""}${isLost(why) ? "This session is not here any more." : why.message}`}
          actions={[
            ...(isLost(why) ? [] : [{ label: "Send again", onClick: () => chat.resend(write.id), testId: "resend" }]),
            { label: "Discard", onClick: () => chat.dismiss(write.id), testId: "dismiss" },
          ]}
        />
      ))}
      {error && connectionStatus !== "connected" && (
        <ErrorNotice
          title={TITLES[error.kind] ?? "The session cannot be read"}
          tone={error.isTransient ? "mild" : "bad"}
          detail={
            error.isTransient
              ? "What you write is kept, and sent when it is back. It is tried again by itself."
              : isLost(error)
                ? LOST
                : error.message
          }
          actions={[
            ...(isLost(error) ? [] : [{ label: "Try now", onClick: () => void chat.retry(), testId: "reconnect" }]),
            ...(error.isTransient ? [] : [{ label: "Start a new session", onClick: onNew, testId: "start-new" }]),
          ]}
        />
      )}
      {error && connectionStatus === "connected" && chat.refused.length === 0 && (
        <ErrorNotice title="That did not work" detail={isLost(error) ? LOST : error.message} />
      )}
    </div>
  );
}
