import { useState } from "react";
import { Icon } from "./Icon";

/** Copies the address of the page, which is that of the conversation. */
export function CopyLink() {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      setCopied(true);
      setTimeout(() => setCopied(false), 1500);
    } catch {
      // Not allowed, or not over HTTPS: then by hand.
      window.prompt("The address of this chat", location.href);
    }
  };
  return (
    <button
      type="button"
      className="button quiet"
      data-testid="copy-link"
      aria-label="Copy the link to this chat"
      title="Copy the link, for a second tab"
      onClick={() => void copy()}
    >
      <Icon name={copied ? "check" : "link"} />
      <span className="wide">{copied ? "Copied" : "Copy link"}</span>
    </button>
  );
}
