import { memo, useEffect, useMemo, useRef, useState } from "react";
import { CopyButton } from "./CopyButton";
import { type LogRow, summary } from "./log";
import type { Log } from "./useLog";

const SHOWN = 400;
const AT_END = 40;

/** The rows of the log as they are stored, live: what every client of the session is made of. */
export function Inspector({ log, name }: { readonly log: Log; readonly name: (actorId: string) => string }) {
  const [wanted, setWanted] = useState("");
  const [type, setType] = useState<string>();
  const [open, setOpen] = useState<number>();
  const list = useRef<HTMLOListElement>(null);
  const follows = useRef(true);

  const types = useMemo(() => count(log.rows), [log.rows]);
  const found = useMemo(() => {
    const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
    return log.rows.filter(
      (row) => (type === undefined || row.type === type) && words.every((word) => row.text.toLowerCase().includes(word)),
    );
  }, [log.rows, wanted, type]);

  useEffect(() => {
    const element = list.current;
    if (element && follows.current) element.scrollTop = element.scrollHeight;
  }, [found]);

  return (
    <div className="inspector" data-testid="inspector">
      <div className="log-head">
        <input
          type="search"
          aria-label="Filter the rows"
          placeholder="Filter: words, ids, types"
          data-testid="inspector-filter"
          value={wanted}
          onChange={(event) => setWanted(event.target.value)}
        />
        <CopyButton
          text={found.map((row) => row.text).join("\n")}
          label={`Copy ${found.length}`}
          testId="inspector-copy"
          className="button"
        />
      </div>
      <div className="log-types" role="group" aria-label="Types of rows">
        {[...types].map(([one, times]) => (
          <button key={one} type="button" className={`chip kind ${one}`} aria-pressed={type === one} onClick={() => setType(type === one ? undefined : one)}>
            {one} <small>{times}</small>
          </button>
        ))}
      </div>
      {log.problem && (
        <p className="log-problem" role="status">
          The log cannot be read at the moment ({log.problem}). It goes on with the next change.
        </p>
      )}
      <ol
        ref={list}
        className="log-rows"
        tabIndex={0}
        aria-label="Rows of the log"
        data-testid="inspector-rows"
        onScroll={(event) => {
          const { scrollHeight, scrollTop, clientHeight } = event.currentTarget;
          follows.current = scrollHeight - scrollTop - clientHeight < AT_END;
        }}
      >
        {found.length > SHOWN && <li className="more-rows">{found.length - SHOWN} earlier rows: filter to see them</li>}
        {found.slice(-SHOWN).map((row) => (
          <Row key={row.from} row={row} open={open === row.from} who={actor(row, name)} onOpen={setOpen} />
        ))}
        {log.rows.length === 0 && <li className="more-rows">Nothing is in the log yet.</li>}
      </ol>
      <p className="log-tail" data-testid="inspector-tail">
        {log.rows.length} rows · ends at <code>{log.offset}</code>
      </p>
    </div>
  );
}

type RowProps = {
  readonly row: LogRow;
  readonly open: boolean;
  readonly who: string;
  readonly onOpen: (from: number | undefined) => void;
};

const Row = memo(function Row({ row, open, who, onOpen }: RowProps) {
  const { said, kind } = summary(row);
  return (
    <li className={open ? "log-row open" : "log-row"} data-testid="log-row" data-offset={row.from} data-type={row.type}>
      <button type="button" className="line" aria-expanded={open} onClick={() => onOpen(open ? undefined : row.from)}>
        <code className="offset">{row.from}</code>
        <span className={`kind ${row.type}`}>{row.type}</span>
        <span className="said">
          {who && <b>{who} </b>}
          {said} <i>{kind}</i>
        </span>
      </button>
      {open && (
        <div className="whole">
          <div className="whole-head">
            <small className="grow">
              {row.operation} <code>{row.key}</code>, bytes {row.from} to {row.to}
            </small>
            <CopyButton text={row.text} />
          </div>
          <pre tabIndex={0}>{JSON.stringify(JSON.parse(row.text), null, 2)}</pre>
        </div>
      )}
    </li>
  );
});

function actor(row: LogRow, name: (actorId: string) => string): string {
  if (row.type !== "chunk" || row.operation === "delete") return "";
  const id = (JSON.parse(row.text) as { value?: { actorId?: string } }).value?.actorId;
  return id === undefined ? "" : name(id);
}

function count(rows: readonly LogRow[]): Map<string, number> {
  const times = new Map<string, number>();
  for (const row of rows) times.set(row.type, (times.get(row.type) ?? 0) + 1);
  return times;
}
