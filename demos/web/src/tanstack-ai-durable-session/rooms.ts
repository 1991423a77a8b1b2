/** Sessions: which one the address names, which ones were here before, and opening one. */

import { newId } from "../ui";
import { recall, remember } from "./remember";

export interface Visited {
  readonly id: string;
  readonly title: string;
}

const KEY = "durable-demo:sessions";
const KEPT = 20;
const UNTITLED = "New session";
const PATIENCE_MS = 10_000;

const isVisited = (value: unknown): value is Visited[] =>
  Array.isArray(value) &&
  value.every((one: Partial<Visited> | null) => typeof one?.id === "string" && typeof one.title === "string");

/** The session that the page's address names. */
export function roomOf(address: string): string | undefined {
  return new URL(address).searchParams.get("session") || undefined;
}

/** The address of a session. */
export function addressOf(room: string): string {
  const address = new URL(location.href);
  address.search = new URLSearchParams({ session: room }).toString();
  address.hash = "";
  return address.href;
}

export const newRoom = (): string => `chat-${newId()}`;

/** Sessions of this browser, the latest first. */
export const visited = (): Visited[] => recall("local", KEY, isVisited) ?? [];

/** Note a session as the latest; its title stays when none is given. */
export function visit(id: string, title?: string): Visited[] {
  const before = visited();
  const known = before.find((one) => one.id === id);
  const now = [{ id, title: title ?? known?.title ?? UNTITLED }, ...before.filter((one) => one.id !== id)].slice(0, KEPT);
  remember("local", KEY, now);
  return now;
}

export function forget(id: string): Visited[] {
  const left = visited().filter((one) => one.id !== id);
  remember("local", KEY, left);
  return left;
}

/** Why a session cannot be shown; `again`: trying again may help. */
export class CannotOpen extends Error {
  constructor(
    readonly reason: "missing" | "gone" | "down" | "not-ours" | "refused",
    message: string,
  ) {
    super(message);
  }
}

/** Have a session ready, with callable agents in it. @throws {CannotOpen} */
export async function openRoom(id: string, create: boolean): Promise<void> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(`/api/sessions/${encodeURIComponent(id)}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ create }),
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    text = await response.text();
  } catch {
    throw new CannotOpen("down", "The server does not answer.");
  }
  let body: { sessionId?: unknown; detail?: { code?: unknown; message?: unknown } | undefined };
  try {
    body = JSON.parse(text) as typeof body;
  } catch {
    throw response.status >= 500
      ? new CannotOpen("down", `The server has a problem (HTTP ${response.status}).`)
      : new CannotOpen("not-ours", "A web page answered in place of the service: a login page, or a proxy in between?");
  }
  if (response.ok && typeof body.sessionId === "string") return;
  const told = typeof body.detail?.message === "string" ? body.detail.message : `HTTP ${response.status}`;
  const isNoId = body.detail?.code === "invalid_id"; // a mistyped address: there cannot be one of that name
  if (response.status === 404 || isNoId) throw new CannotOpen("missing", told);
  if (response.status === 410) throw new CannotOpen("gone", told);
  throw new CannotOpen(response.status >= 500 ? "down" : "refused", told);
}
