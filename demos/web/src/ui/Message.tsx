import type { ReactNode } from "react";
import { Icon } from "./Icon";

export type MessageProps = {
  readonly role: "user" | "assistant" | "system";
  /** Who wrote it, where there are several. */
  readonly name?: string;
  /** Something about the whole message, under it: "Stopped". */
  readonly note?: ReactNode;
  readonly children: ReactNode;
};

/** One message; its parts are the children. */
export function Message({ role, name, note, children }: MessageProps) {
  return (
    <article
      className={`message ${role}`}
      data-testid={`message-${role}`}
      aria-label={name ?? (role === "user" ? "You" : "Assistant")}
    >
      {role !== "user" && (
        <div className="avatar" aria-hidden="true">
          {name ? name.slice(0, 1).toUpperCase() : <Icon name="stream" />}
        </div>
      )}
      <div className="message-body">
        {name && <div className="message-name">{name}</div>}
        {children}
        {note && (
          <p className="message-note" data-testid="message-note">
            {note}
          </p>
        )}
      </div>
    </article>
  );
}

/** What somebody typed, as they typed it. */
export function PlainText({ text }: { text: string }) {
  return <p className="plain">{text}</p>;
}

/** An answer of which nothing has come yet. */
export function Thinking({ label = "Waiting for the first words" }: { label?: string }) {
  return (
    <div className="thinking" role="status" aria-label={label} data-testid="thinking">
      <i />
      <i />
      <i />
    </div>
  );
}
