/**
 * Storage that never throws: a browser may have switched it off, or be full. What cannot be kept
 * there is kept in memory, so that it lasts at least as long as the page.
 */
const memory = new Map<string, string>();

function area(kind: "local" | "session"): Storage | undefined {
  try {
    return kind === "local" ? window.localStorage : window.sessionStorage;
  } catch {
    return undefined;
  }
}

export function load(kind: "local" | "session", key: string): string | undefined {
  const remembered = memory.get(`${kind}:${key}`);
  if (remembered !== undefined) return remembered;
  try {
    return area(kind)?.getItem(key) ?? undefined;
  } catch {
    return undefined;
  }
}

export function save(kind: "local" | "session", key: string, value: string): void {
  try {
    const there = area(kind);
    if (!there) throw new Error("switched off");
    if (value === "") there.removeItem(key);
    else there.setItem(key, value);
    memory.delete(`${kind}:${key}`);
  } catch {
    memory.set(`${kind}:${key}`, value);
  }
}
