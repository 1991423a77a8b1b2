/** JSON in the browser's storage. What is damaged, or does not fit, counts as absent. */

import { load, save } from "../ui";

type Kind = Parameters<typeof load>[0];

/** What is kept under a key, if it `fits`. */
export function recall<T>(kind: Kind, key: string, fits: (value: unknown) => value is T): T | undefined {
  try {
    const value: unknown = JSON.parse(load(kind, key) ?? "null");
    return fits(value) ? value : undefined;
  } catch {
    return undefined; // no JSON
  }
}

/** Keep JSON under a key. */
export function remember(kind: Kind, key: string, value: unknown): void {
  save(kind, key, JSON.stringify(value));
}
