import type { StorageState } from "durable-ai-browser";
import { ErrorNotice } from "./ErrorNotice";

/** That this browser does not keep the chat, or could not read what it had kept. */
export function StorageNotice({ state }: { state: StorageState }) {
  if (state === "kept") return null;
  const words =
    state === "unreadable"
      ? {
          title: "Not all of this chat could be read",
          detail: "What this browser had kept of it is damaged. What could not be read is left out.",
        }
      : {
          title: "This browser does not keep this chat",
          detail: "Its storage is full or switched off: what is new here is gone after a reload.",
        };
  return <ErrorNotice tone="mild" testId="storage-notice" {...words} />;
}
