import { useEffect, useState } from "react";
import { ErrorNotice } from "./ErrorNotice";
import { openNewSession, type PageSession } from "./hooks";

/** What is stored of a chat comes after the page, in milliseconds. */
const LATE_MS = 1000;
/** Of an address that leads nowhere, as much is shown as tells it from others. */
const SHOWN = 60;

export type LinkNoticeProps = {
  readonly page: PageSession;
  /** Whether nothing is on its way, and nothing else is said. */
  readonly idle: boolean;
};

/** In a chat of which nothing is to be seen: that the link is to blame which has led here. */
export function LinkNotice({ page, idle }: LinkNoticeProps) {
  const [isLate, setLate] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setLate(true), LATE_MS);
    return () => clearTimeout(timer);
  }, []);
  if (page.invalid !== undefined) {
    const name = page.invalid.length > SHOWN ? `${page.invalid.slice(0, SHOWN)}…` : page.invalid;
    return (
      <ErrorNotice
        tone="mild"
        title="This link does not lead to a chat"
        detail={`“${name}” is not the name of one, which is a UUID. So this is a new chat, with an address of its own.`}
      />
    );
  }
  if (!page.linked || !idle || !isLate) return null;
  return (
    <ErrorNotice
      tone="mild"
      title="This chat is not in this browser"
      detail="It was begun in another one, or too long ago. Nothing of it is running, either."
      actions={[{ label: "New chat", onClick: openNewSession }]}
    />
  );
}
