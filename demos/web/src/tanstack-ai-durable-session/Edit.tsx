import { type FormEvent, useState } from "react";

type Props = { readonly text: string; readonly onSave: (text: string) => void; readonly onCancel: () => void };

/** A message that is written anew. */
export function Edit({ text, onSave, onCancel }: Props) {
  const [now, setNow] = useState(text);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (now.trim()) onSave(now.trim());
  };
  return (
    <form className="edit" onSubmit={submit}>
      <textarea
        aria-label="Edit the message"
        data-testid="edit-text"
        value={now}
        rows={2}
        autoFocus
        onFocus={({ target }) => target.setSelectionRange(target.value.length, target.value.length)}
        onChange={(event) => setNow(event.target.value)}
        onKeyDown={(event) => {
          if (event.nativeEvent.isComposing) return;
          if (event.key === "Escape") onCancel();
          if (event.key === "Enter" && !event.shiftKey) {
            event.preventDefault();
            event.currentTarget.form?.requestSubmit();
          }
        }}
      />
      <div className="edit-foot">
        <span>What follows it is taken back for everybody.</span>
        <button type="button" className="button" onClick={onCancel}>
          Cancel
        </button>
        <button type="submit" className="button primary" data-testid="edit-save" disabled={!now.trim()}>
          Send again
        </button>
      </div>
    </form>
  );
}
