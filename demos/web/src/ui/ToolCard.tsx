import { Icon } from "./Icon";

export type ToolState = "writing" | "running" | "done" | "failed" | "denied" | "interrupted";

const WORDS: Record<ToolState, string> = {
  writing: "writing the request…",
  running: "running…",
  done: "done",
  failed: "failed",
  denied: "not allowed",
  interrupted: "interrupted",
};

export type ToolCardProps = {
  readonly name: string;
  readonly state: ToolState;
  /** The arguments; what is still being written may be text. */
  readonly input?: unknown;
  readonly output?: unknown;
  readonly error?: string | undefined;
  /** Unfolded, such as a request that is being written. */
  readonly open?: boolean;
};

/** One call of a tool: what it is called with, and what came of it. */
export function ToolCard({ name, state, input, output, error, open }: ToolCardProps) {
  const busy = state === "writing" || state === "running";
  const kind = state === "done" ? "done" : busy ? "busy" : "bad";
  return (
    <details className="card" data-testid="tool" data-state={state} open={open}>
      <summary>
        <span className="card-icon" data-kind={kind} aria-hidden="true">
          {busy ? (
            <span className="spinner" />
          ) : (
            <Icon name={state === "done" ? "check" : "cross"} />
          )}
        </span>
        <span className="card-title">{words(name)}</span>
        <span className="card-state">{WORDS[state]}</span>
      </summary>
      {given(input) && <Part title="Request" value={input} />}
      {given(output) && <Part title="Answer" value={output} />}
      {error && <Part title="Error" value={error} />}
    </details>
  );
}

/** `get_weather` as people write it. */
export function words(name: string): string {
  const text = name.replace(/[_-]+/g, " ").replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function given(value: unknown): boolean {
  return value !== undefined && value !== null && value !== "";
}

function Part({ title, value }: { title: string; value: unknown }) {
  return (
    <div className="card-part">
      <h4>{title}</h4>
      <pre>{typeof value === "string" ? value : JSON.stringify(value, null, 2)}</pre>
    </div>
  );
}
