/** Reads a session's log for the inspector: what is new, whenever the session shows something new. */

import { useEffect, useRef, useState } from "react";
import { type LogRow, logRows } from "./log";

const BEGINNING = "-1";
const PATIENCE_MS = 10_000;
const PAUSE_MS = 250;
const KEPT = 5000;

export interface Log {
  readonly rows: readonly LogRow[];
  /** Where the log ends, as a reader says it. */
  readonly offset: string;
  /** Why it cannot be read at the moment. */
  readonly problem: string | undefined;
}

const EMPTY: Log = { rows: [], offset: BEGINNING, problem: undefined };

/**
 * The log of a session.
 *
 * It is not a connection of its own, of which a browser allows six for all tabs: it asks for the rest
 * of the log when `news` changes.
 *
 * @param news - Changes whenever the session does.
 */
export function useLog(url: string, active: boolean, news: unknown): Log {
  const [log, setLog] = useState(EMPTY);
  const reader = useRef<{ url: string; wanted: boolean; running: boolean; log: Log }>(undefined);

  useEffect(() => {
    if (!active) return;
    if (reader.current?.url !== url) {
      reader.current = { url, wanted: false, running: false, log: EMPTY };
      setLog(EMPTY);
    }
    const mine = reader.current;
    mine.wanted = true;
    if (!mine.running) void run(mine, () => reader.current === mine, setLog);
  }, [url, active, news]);

  return log;
}

async function run(
  mine: { url: string; wanted: boolean; running: boolean; log: Log },
  isCurrent: () => boolean,
  show: (log: Log) => void,
): Promise<void> {
  mine.running = true;
  while (mine.wanted && isCurrent()) {
    mine.wanted = false;
    mine.log = await readOn(mine.url, mine.log);
    if (isCurrent()) show(mine.log);
    await new Promise((done) => setTimeout(done, PAUSE_MS));
  }
  mine.running = false;
}

/** The log with what has come since. */
async function readOn(url: string, log: Log): Promise<Log> {
  let { rows, offset } = log;
  try {
    for (let upToDate = false; !upToDate; ) {
      const response = await fetch(`${url}?offset=${offset}`, { signal: AbortSignal.timeout(PATIENCE_MS) });
      const next = response.headers.get("Stream-Next-Offset");
      if (!response.ok || next === null) throw new Error(`HTTP ${response.status}`);
      const start = offset === BEGINNING ? 0 : Number(offset);
      rows = [...rows, ...logRows(await response.text(), start)].slice(-KEPT);
      upToDate = response.headers.has("Stream-Up-To-Date") || next === offset;
      offset = next;
    }
    return { rows, offset, problem: undefined };
  } catch (error) {
    return { rows, offset, problem: error instanceof Error ? error.message : String(error) };
  }
}
