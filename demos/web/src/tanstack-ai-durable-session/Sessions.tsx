import { Icon } from "../ui";
import { CopyButton } from "./CopyButton";
import { type Visited, addressOf } from "./rooms";

type Props = {
  readonly room: string;
  readonly rooms: readonly Visited[];
  readonly onNew: () => void;
  readonly onOpen: (room: string) => void;
  readonly onForget: (room: string) => void;
};

/** The sessions that this browser has seen. */
export function Sessions({ room, rooms, onNew, onOpen, onForget }: Props) {
  return (
    <>
      <button type="button" className="button wide-button" data-testid="new-session" onClick={onNew}>
        <Icon name="plus" />
        New session
      </button>
      <CopyButton text={addressOf(room)} label="Copy the link of this one" testId="share-here" className="button wide-button" />
      <ul className="list" data-testid="sessions">
        {rooms.map((one) => (
          <li key={one.id} className="item">
            <a
              className="grow room-link"
              href={addressOf(one.id)}
              aria-current={one.id === room ? "page" : undefined}
              onClick={(event) => {
                if (event.metaKey || event.ctrlKey || event.shiftKey) return; // in a tab of its own
                event.preventDefault();
                onOpen(one.id);
              }}
            >
              {one.title}
            </a>
            {one.id !== room && (
              <button
                type="button"
                className="button quiet icon"
                aria-label={`Take “${one.title}” off this list`}
                title="Take it off this list"
                onClick={() => onForget(one.id)}
              >
                <Icon name="cross" />
              </button>
            )}
          </li>
        ))}
      </ul>
    </>
  );
}
