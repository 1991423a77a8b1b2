export type Connection =
  | "ready"
  | "connecting"
  | "streaming"
  | "resuming"
  | "reconnecting"
  | "offline"
  | "interrupted";

const WORDS: Record<Connection, string> = {
  ready: "Connected",
  connecting: "Connecting…",
  streaming: "Streaming",
  resuming: "Resuming…",
  reconnecting: "Reconnecting…",
  offline: "Offline, will go on",
  interrupted: "Interrupted",
};

export type ConnectionBadgeProps = {
  readonly state: Connection;
  /** Other words for it. */
  readonly label?: string | undefined;
};

/** How the connection is, in a word or two. */
export function ConnectionBadge({ state, label }: ConnectionBadgeProps) {
  return (
    <span className="badge" role="status" data-state={state} data-testid="connection">
      <span className="badge-dot" aria-hidden="true" />
      {label ?? WORDS[state]}
    </span>
  );
}
