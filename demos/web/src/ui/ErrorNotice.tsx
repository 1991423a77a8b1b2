import type { ReactNode } from "react";

export type NoticeAction = {
  readonly label: string;
  readonly onClick: () => void;
  readonly testId?: string;
};

export type ErrorNoticeProps = {
  /** What happened, in plain words. */
  readonly title: string;
  /** What that means, and what can be done. */
  readonly detail?: ReactNode;
  /** The ways on; the first one is the one to take. */
  readonly actions?: readonly NoticeAction[];
  /** `mild` for what ends by itself, or what the user wanted. */
  readonly tone?: "bad" | "mild";
  readonly testId?: string;
};

/** Something that went wrong, and a way on. */
export function ErrorNotice(props: ErrorNoticeProps) {
  const { title, detail, actions = [], tone = "bad", testId = "error" } = props;
  return (
    <div
      className={tone === "mild" ? "notice mild" : "notice"}
      role="alert"
      data-testid={testId}
      data-tone={tone}
    >
      <div className="notice-text">
        <p className="notice-title">{title}</p>
        {detail && <p className="notice-detail">{detail}</p>}
      </div>
      {actions.length > 0 && (
        <div className="notice-actions">
          {actions.map(({ label, onClick, testId = "notice-action" }, index) => (
            <button
              key={label}
              type="button"
              className={index === 0 ? "button primary" : "button"}
              data-testid={testId}
              onClick={onClick}
            >
              {label}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}
