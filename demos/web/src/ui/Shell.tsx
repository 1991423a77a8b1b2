import type { ReactNode } from "react";
import { ThemeToggle } from "./ThemeToggle";

export type ShellProps = {
  readonly title: string;
  /** What stands under the title where there is room: the model's name, who is there. */
  readonly subtitle?: ReactNode;
  /** The connection's state. */
  readonly badge?: ReactNode;
  /** Buttons at the right of the header. */
  readonly actions?: ReactNode;
  /** A second column, which a narrow screen hides unless it is `asideOpen`. */
  readonly aside?: ReactNode;
  readonly asideOpen?: boolean;
  /** What stays at the bottom: notices and the composer. */
  readonly footer: ReactNode;
  readonly children: ReactNode;
};

/** The page: a header, what scrolls, and what stays at the bottom. */
export function Shell(props: ShellProps) {
  const { title, subtitle, badge, actions, aside, asideOpen = false, footer, children } = props;
  return (
    <div className={aside ? "shell with-aside" : "shell"}>
      <header className="shell-header">
        <div className="brand">
          <svg className="brand-mark" viewBox="0 0 32 32" aria-hidden="true">
            <rect width="32" height="32" rx="9" fill="#0f766e" />
            <path
              d="M8 11.5h16M8 16h10M8 20.5h13"
              stroke="#fff"
              strokeWidth="2.6"
              strokeLinecap="round"
            />
          </svg>
          <div className="brand-text">
            <h1 className="brand-title">{title}</h1>
            {subtitle && <p className="brand-subtitle">{subtitle}</p>}
          </div>
        </div>
        {badge}
        <div className="shell-actions">
          {actions}
          <ThemeToggle />
        </div>
      </header>
      <main className="shell-main">{children}</main>
      <footer className="shell-footer">{footer}</footer>
      {aside && <aside className={`shell-aside${asideOpen ? " open" : ""}`}>{aside}</aside>}
    </div>
  );
}
