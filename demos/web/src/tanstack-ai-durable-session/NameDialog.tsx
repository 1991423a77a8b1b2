import { type FormEvent, useEffect, useId, useRef, useState } from "react";
import { Avatar } from "./Avatar";
import { LONGEST_NAME, type Me, SUGGESTED } from "./people";

type Props = {
  readonly me: Me | undefined;
  readonly onChoose: (name: string, someoneElse: boolean) => void;
  readonly onClose: () => void;
};

/** Asks who is in front of the page. Without a name there is no way past it. */
export function NameDialog({ me, onChoose, onClose }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const title = useId();
  const [name, setName] = useState(me?.name ?? "");
  const [someoneElse, setSomeoneElse] = useState(false);
  useEffect(() => {
    if (!dialog.current?.open) dialog.current?.showModal();
  }, []);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (name.trim()) onChoose(name, someoneElse);
  };
  return (
    <dialog
      ref={dialog}
      className="name-dialog"
      aria-labelledby={title}
      data-testid="name-dialog"
      onCancel={(event) => {
        event.preventDefault();
        if (me) onClose();
      }}
    >
      <form onSubmit={submit}>
        <h2 id={title}>{me ? "You in this session" : "Who are you?"}</h2>
        <p>Everybody in the session sees this name beside what you write.</p>
        <div className="name-row">
          <Avatar id={me && !someoneElse ? me.id : name} name={name || "?"} isAgent={false} />
          <input
            aria-label="Your name"
            data-testid="name-input"
            value={name}
            maxLength={LONGEST_NAME}
            autoComplete="off"
            placeholder="Your name"
            autoFocus
            onChange={(event) => setName(event.target.value)}
          />
        </div>
        <div className="names" role="group" aria-label="Suggestions">
          {SUGGESTED.map((one) => (
            <button key={one} type="button" className="chip" onClick={() => setName(one)}>
              {one}
            </button>
          ))}
        </div>
        {me && (
          <label className="check">
            <input
              type="checkbox"
              data-testid="someone-else"
              checked={someoneElse}
              onChange={(event) => setSomeoneElse(event.target.checked)}
            />
            Be another person in this tab, to try out two of you
          </label>
        )}
        <div className="dialog-foot">
          {me && (
            <button type="button" className="button" onClick={onClose}>
              Cancel
            </button>
          )}
          <button type="submit" className="button primary" data-testid="name-submit" disabled={!name.trim()}>
            {me ? "Save" : "Join"}
          </button>
        </div>
      </form>
    </dialog>
  );
}
