import { useEffect, useLayoutEffect, useRef, useState, type ReactNode } from "react";
import { Icon } from "./Icon";
import { StopButton } from "./StopButton";
import { load, save } from "./storage";

export type ComposerProps = {
  /** Under this name the draft is kept until it is sent, over reloads too: one per conversation. */
  readonly draftKey: string;
  /** Takes the text; `false` refuses it, and the draft stays. */
  readonly onSend: (text: string) => boolean | void;
  /** An answer is on its way: there is a stop button, and what is typed waits. */
  readonly busy?: boolean;
  readonly onStop?: (() => void) | undefined;
  readonly stopping?: boolean;
  /** Nothing can be sent now; what is typed stays. */
  readonly disabled?: boolean;
  readonly placeholder?: string;
  readonly hint?: ReactNode;
};

/** Where one writes. Enter sends, Shift+Enter breaks the line, Escape stops the answer. */
export function Composer(props: ComposerProps) {
  const { draftKey, onSend, onStop, placeholder = "Write a message", hint } = props;
  const { busy = false, stopping = false, disabled = false } = props;
  const key = `demo-draft:${draftKey}`;
  const [draft, setDraft] = useState(() => load("session", key) ?? "");
  const box = useRef<HTMLTextAreaElement>(null);

  useEffect(() => setDraft(load("session", key) ?? ""), [key]);
  useEffect(() => {
    // Not on a phone, where it would open the keyboard.
    if (window.matchMedia("(hover: hover)").matches) box.current?.focus();
  }, [key]);
  useLayoutEffect(() => {
    const area = box.current;
    if (!area || CSS.supports("field-sizing", "content")) return;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  }, [draft]);

  const keep = (text: string) => {
    setDraft(text);
    save("session", key, text);
  };
  const sendable = !busy && !disabled && draft.trim() !== "";
  const send = () => {
    if (sendable && onSend(draft.trim()) !== false) keep("");
  };

  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <div className="composer">
        <textarea
          ref={box}
          rows={1}
          value={draft}
          placeholder={placeholder}
          aria-label={placeholder}
          data-testid="composer-input"
          onChange={(event) => keep(event.target.value)}
          onKeyDown={(event) => {
            if (event.nativeEvent.isComposing) return;
            if (event.key === "Enter" && !event.shiftKey) {
              event.preventDefault();
              send();
            } else if (event.key === "Escape" && busy && !stopping) {
              onStop?.();
            }
          }}
        />
        {busy && onStop ? (
          <StopButton onStop={onStop} stopping={stopping} />
        ) : (
          <button
            type="submit"
            className="button primary"
            aria-label="Send"
            title="Send (Enter)"
            data-testid="send"
            disabled={!sendable}
          >
            <Icon name="send" />
          </button>
        )}
      </div>
      {hint && <p className="composer-hint">{hint}</p>}
    </form>
  );
}
