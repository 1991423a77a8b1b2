import { useSyncExternalStore } from "react";
import { load, save } from "./storage";

function onNetwork(tell: () => void): () => void {
  window.addEventListener("online", tell);
  window.addEventListener("offline", tell);
  return () => {
    window.removeEventListener("online", tell);
    window.removeEventListener("offline", tell);
  };
}

/** Whether the browser has a network; false is certain, true is a hope. */
export function useOnline(): boolean {
  return useSyncExternalStore(onNetwork, () => navigator.onLine);
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export type PageSession = {
  /** A UUID: the one in the page's address, or a new one that is there now. */
  readonly session: string;
  /** Whether a link has led here, so that there should be something to be seen. */
  readonly linked: boolean;
  /** What the address had in place of a session, if that cannot be one. */
  readonly invalid?: string;
};

/** The session that the page's address names, `/?session=UUID`. */
export function sessionOfPage(): PageSession {
  const url = new URL(location.href);
  const given = url.searchParams.get("session");
  if (given !== null && UUID.test(given)) {
    const session = given.toLowerCase();
    return { session, linked: load("session", `demo-begun:${session}`) === undefined };
  }
  const session = newId();
  save("session", `demo-begun:${session}`, "here");
  url.searchParams.set("session", session);
  history.replaceState(null, "", url);
  return given ? { session, linked: false, invalid: given } : { session, linked: false };
}

/** Open a conversation that has not begun. */
export function openNewSession(): void {
  location.assign(location.pathname);
}

/** `crypto.randomUUID()`, which a page has only on HTTPS and on localhost, not on a phone nearby. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** A value outside of React that components can follow: `[set, useValue]`. */
export function observable<T>(first: T): [(value: T) => void, () => T] {
  let value = first;
  const listeners = new Set<() => void>();
  const set = (next: T) => {
    value = next;
    listeners.forEach((tell) => tell());
  };
  const subscribe = (tell: () => void) => {
    listeners.add(tell);
    return () => listeners.delete(tell);
  };
  return [set, () => useSyncExternalStore(subscribe, () => value)];
}
