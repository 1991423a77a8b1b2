/** How a session is shown: names, title, connection. Pure. */

import type { Agent, ChatMessage, Presence, SessionSnapshot } from "durable-ai-browser/session";
import type { Connection } from "../ui";
import type { KnownAgent } from "./People";
import type { Who } from "./Thread";
import type { Me } from "./people";

const LONGEST_TITLE = 60;

/** Id, name, and whether it is an agent, of everybody who can have said something. Later ones count. */
export type Names = readonly (readonly [id: string, name: string, isAgent: boolean])[];

export function namesOf(
  me: Me,
  known: readonly KnownAgent[],
  agents: readonly Agent[],
  presence: readonly Presence[],
): Names {
  return [
    ...known.map((one) => [one.id, one.name, true] as const),
    ...agents.map((one) => [one.agentId, one.name ?? one.agentId, true] as const),
    ...presence.map((one) => [one.actorId, one.name ?? "Somebody", one.actorType === "agent"] as const),
    [me.id, me.name, false],
  ];
}

export function whoIn(names: Names, me: Me): (actorId: string) => Who {
  const found = new Map(names.map(([id, name, isAgent]) => [id, { name, isAgent, isMe: id === me.id }]));
  return (id) => found.get(id) ?? { name: "Somebody", isAgent: false, isMe: false };
}

/** What a session is about: the first thing that somebody said. */
export function titleOf(messages: readonly ChatMessage[]): string | undefined {
  const first = messages.find((one) => one.role === "user");
  const text = first?.parts.map((part) => (part.type === "text" ? String(part.content) : "")).join(" ");
  const line = text?.trim().replace(/\s+/g, " ") ?? "";
  if (line === "") return undefined;
  return line.length <= LONGEST_TITLE ? line : `${line.slice(0, LONGEST_TITLE).trimEnd()}…`;
}

/** The connection, as the badge says it. */
export function connectionOf(chat: SessionSnapshot, online: boolean): Connection {
  switch (chat.connectionStatus) {
    case "connected":
      return chat.isLoading ? "streaming" : "ready";
    case "error":
      return "interrupted";
    default:
      return online ? (chat.isReady ? "resuming" : "connecting") : "offline";
  }
}
