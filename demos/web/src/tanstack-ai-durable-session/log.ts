/** The log of a session as it is stored: rows, and where each of them begins and ends. */

/** A row of the log. */
export interface LogRow {
  /** Where it begins: bytes from the beginning of the log. */
  readonly from: number;
  /** Where the next one begins: what a reader that resumes asks for. */
  readonly to: number;
  readonly type: string;
  readonly key: string;
  readonly operation: string;
  /** As it is stored. */
  readonly text: string;
}

const encoder = new TextEncoder();

/**
 * Rows out of an answer of the log, `[row,row]`.
 *
 * A position is a byte position: a row takes up its text and the comma behind it.
 *
 * @param start - Where the answer begins.
 */
export function logRows(answer: string, start: number): LogRow[] {
  let at = start;
  return items(answer).map((text) => {
    const from = at;
    at += encoder.encode(text).length + 1;
    const row = JSON.parse(text) as { type?: string; key?: string; headers?: { operation?: string } };
    return {
      from,
      to: at,
      type: row.type ?? "?",
      key: row.key ?? "",
      operation: row.headers?.operation ?? "",
      text,
    };
  });
}

/** The texts of a JSON array's items, as they are written. */
export function items(array: string): string[] {
  const found: string[] = [];
  let depth = 0;
  let begin = 1;
  for (let at = 0; at < array.length; at++) {
    const letter = array[at];
    if (letter === '"') {
      for (at++; array[at] !== '"' && at < array.length; at++) if (array[at] === "\\") at++;
    } else if (letter === "[" || letter === "{") {
      depth++;
    } else if (letter === "]" || letter === "}") {
      depth--;
      if (depth === 0 && at > begin) found.push(array.slice(begin, at));
    } else if (letter === "," && depth === 1) {
      found.push(array.slice(begin, at));
      begin = at + 1;
    }
  }
  return found.map((text) => text.trim()).filter((text) => text !== "");
}

/** What a row says, in one line: what is new in it, and what kind of news that is. */
export function summary(row: LogRow): { readonly said: string; readonly kind: string } {
  const { value = {} } = JSON.parse(row.text) as { value?: Record<string, unknown> };
  const told = (...names: string[]) => names.map((name) => value[name]).filter(Boolean).join(" · ");
  if (row.operation === "delete") return { said: "taken back", kind: row.key };
  switch (row.type) {
    case "chunk":
      return ofChunk(String(value["chunk"] ?? ""));
    case "run":
      return { said: told("agentId", "status", "code"), kind: told("cause") };
    case "presence":
      return { said: told("name", "status"), kind: told("actorType") };
    case "agent":
      return { said: told("name", "triggers"), kind: told("endpoint") };
    default:
      return { said: JSON.stringify(value), kind: "" };
  }
}

function ofChunk(text: string): { said: string; kind: string } {
  let chunk: unknown;
  try {
    chunk = JSON.parse(text);
  } catch {
    return { said: text, kind: "no JSON" };
  }
  const { type, delta, message, timestamp: _, ...rest } = chunk as Record<string, unknown> & { message?: { parts?: unknown } };
  const said = delta ?? message?.parts ?? (Object.keys(rest).length > 0 ? rest : undefined);
  return { said: said === undefined ? "" : JSON.stringify(said), kind: String(type) };
}
