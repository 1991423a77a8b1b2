/** What an error is called on the page, and what it means for the user. */
export type Explanation = { readonly title: string; readonly detail: string };

const KEPT = "Your message is kept.";

/** By the codes of `durable-ai-browser`, which are those of the proxy. */
const BY_CODE: Record<string, Explanation> = {
  orphaned: {
    title: "Interrupted by a restart",
    detail: "The server was restarted while it wrote this answer. Whatever had come is above.",
  },
  proxy_unreachable: {
    title: "The chat server cannot be reached",
    detail: `${KEPT} An answer that has begun goes on there, and is here in full once it is back.`,
  },
  not_a_durable_proxy: {
    title: "Something else answered in place of the chat server",
    detail: `${KEPT} A sign-in page of the network, perhaps, or a wrong address.`,
  },
  upstream_unreachable: {
    title: "The chat server cannot reach the model",
    detail: KEPT,
  },
  upstream_timeout: {
    title: "The model took too long",
    detail: "Whatever had come of the answer is above.",
  },
  upstream_truncated: {
    title: "The answer ends too early",
    detail: "The model's server broke off. Whatever had come is above.",
  },
  stream_not_found: {
    title: "This answer is not on the server",
    detail: `It was never asked for it, or has deleted it. ${KEPT}`,
  },
};

/** The words for an error; what is not known by its code speaks for itself. */
export function explain(error: unknown): Explanation {
  const code = typeof error === "object" && error !== null && "code" in error ? error.code : "";
  const known = typeof code === "string" ? BY_CODE[code] : undefined;
  if (known) return known;
  const detail = error instanceof Error ? error.message : String(error);
  return { title: "The answer has failed", detail };
}
