/** Who is who: the person in front of this page, and the colours and initials of everybody. */

import { newId } from "../ui";
import { recall, remember } from "./remember";

/** The person who uses this tab. */
export interface Me {
  readonly id: string;
  readonly name: string;
}

const KEY = "durable-demo:me";
export const LONGEST_NAME = 40;
export const SUGGESTED = ["Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Margaret", "Ken"];

const isMe = (value: unknown): value is Me => {
  const me = value as Partial<Me> | null;
  return typeof me?.id === "string" && me.id !== "" && typeof me.name === "string" && me.name.trim() !== "";
};

/** Who this tab, or else this browser, belongs to. */
export function whoAmI(): Me | undefined {
  return recall("session", KEY, isMe) ?? recall("local", KEY, isMe);
}

/** Be somebody, in this tab and in those that are opened later. */
export function become(name: string, before: Me | undefined, someoneElse: boolean): Me {
  const id = before && !someoneElse ? before.id : `user-${newId()}`;
  const me = { id, name: name.trim().slice(0, LONGEST_NAME) };
  remember("session", KEY, me);
  if (!someoneElse) remember("local", KEY, me);
  return me;
}

/** One or two letters for a name. */
export function initials(name: string): string {
  const words = name.trim().split(/\s+/);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : [words[0]];
  return letters.map((word) => [...(word ?? "")][0]?.toUpperCase() ?? "?").join("");
}

/** A colour's angle for an actor: the same on every screen. */
export function hue(actorId: string): number {
  let sum = 7;
  for (const letter of actorId) sum = (sum * 31 + letter.charCodeAt(0)) % 360;
  return sum;
}
