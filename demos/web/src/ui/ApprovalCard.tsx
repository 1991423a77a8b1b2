import { Icon } from "./Icon";
import { words } from "./ToolCard";

export type ApprovalCardProps = {
  /** The tool that wants to run. */
  readonly name: string;
  /** What it will be called with. */
  readonly input: unknown;
  /** Takes the user's word. */
  readonly onDecide: (approved: boolean) => void;
  /** The word has been given and is on its way. */
  readonly pending?: boolean;
};

/** A tool that has to be approved: what it will do, and yes or no. */
export function ApprovalCard({ name, input, onDecide, pending = false }: ApprovalCardProps) {
  const fields = Object.entries(typeof input === "object" && input !== null ? input : { input });
  return (
    <section className="card asking" data-testid="approval" aria-label={`Approve: ${words(name)}`}>
      <div className="card-head">
        <span className="card-icon" aria-hidden="true">
          <Icon name="hand" />
        </span>
        <span className="card-title">{words(name)}?</span>
        <span className="card-state">waits for you</span>
      </div>
      <div className="card-part">
        <dl className="fields">
          {fields.map(([field, value]) => (
            <div key={field} style={{ display: "contents" }}>
              <dt>{words(field)}</dt>
              <dd>{typeof value === "string" ? value : JSON.stringify(value)}</dd>
            </div>
          ))}
        </dl>
      </div>
      <div className="card-buttons">
        <button
          type="button"
          className="button primary"
          data-testid="approve"
          disabled={pending}
          onClick={() => onDecide(true)}
        >
          <Icon name="check" />
          Approve
        </button>
        <button
          type="button"
          className="button"
          data-testid="deny"
          disabled={pending}
          onClick={() => onDecide(false)}
        >
          <Icon name="cross" />
          Deny
        </button>
      </div>
    </section>
  );
}
