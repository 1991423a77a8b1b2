import { Icon } from "./Icon";

/** Stops the answer for everybody who reads it, and the model. */
export function StopButton({ onStop, stopping }: { onStop: () => void; stopping: boolean }) {
  return (
    <button
      type="button"
      className="button stop"
      title="Stop the answer (Escape)"
      data-testid="stop"
      disabled={stopping}
      // The second click of a double click on Send, whose place this takes, stops nothing.
      onClick={(event) => event.detail < 2 && onStop()}
    >
      {stopping ? <span className="spinner" aria-hidden="true" /> : <Icon name="stop" />}
      {stopping ? "Stopping…" : "Stop"}
    </button>
  );
}
