import { useState } from "react";

const SHOWN_MS = 1500;

type Props = { readonly text: string; readonly label?: string; readonly testId?: string; readonly className?: string };

/** Puts a text on the clipboard, and says whether that worked: without https a browser has none. */
export function CopyButton({ text, label = "Copy", testId = "copy", className = "button quiet" }: Props) {
  const [said, setSaid] = useState<string>();
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setSaid("Copied");
    } catch {
      setSaid("No clipboard here");
    }
    setTimeout(() => setSaid(undefined), SHOWN_MS);
  };
  return (
    <button type="button" className={className} data-testid={testId} disabled={text === ""} onClick={() => void copy()}>
      {said ?? label}
    </button>
  );
}
