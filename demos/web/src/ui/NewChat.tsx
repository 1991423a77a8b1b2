import { openNewSession } from "./hooks";
import { Icon } from "./Icon";

/** Leaves this chat as it is, and begins another one. */
export function NewChat() {
  return (
    <button
      type="button"
      className="button"
      data-testid="new-chat"
      aria-label="New chat"
      onClick={openNewSession}
    >
      <Icon name="plus" />
      <span className="wide">New chat</span>
    </button>
  );
}
