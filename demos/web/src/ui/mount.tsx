import { Component, StrictMode, type ErrorInfo, type ReactNode } from "react";
import { createRoot } from "react-dom/client";
import { ErrorNotice } from "./ErrorNotice";
import "./theme.css";

class Guard extends Component<{ children: ReactNode }, { message?: string }> {
  override state: { message?: string } = {};

  static getDerivedStateFromError(error: unknown): { message: string } {
    return { message: error instanceof Error ? error.message : String(error) };
  }

  override componentDidCatch(error: unknown, info: ErrorInfo): void {
    console.error(error, info.componentStack);
  }

  override render(): ReactNode {
    if (this.state.message === undefined) return this.props.children;
    return (
      <div style={{ maxWidth: "40rem", margin: "15vh auto", padding: "0 1rem" }}>
        <ErrorNotice
          title="The page has failed"
          detail={`${this.state.message} If a reload does not help, begin a new chat.`}
          actions={[
            { label: "Reload", onClick: () => location.reload(), testId: "reload" },
            { label: "New chat", onClick: () => location.assign(location.pathname) },
          ]}
        />
      </div>
    );
  }
}

/** Show a page: everything it says if it fails itself is a notice with a way on. */
export function mount(page: ReactNode): void {
  const root = document.getElementById("root");
  if (!root) throw new Error("the page has no #root");
  createRoot(root).render(
    <StrictMode>
      <Guard>{page}</Guard>
    </StrictMode>,
  );
}
