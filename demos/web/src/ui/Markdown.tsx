import { memo, useState, type ReactNode } from "react";
import ReactMarkdown, { type Components } from "react-markdown";
import remarkGfm from "remark-gfm";
import { blocks, settled } from "./markdown";

const PLUGINS = [remarkGfm];

const COMPONENTS: Components = {
  a: ({ href, children }) => (
    <a href={href} target="_blank" rel="noopener noreferrer nofollow">
      {children}
    </a>
  ),
  // A picture's address can carry away what stands in the conversation, so none is loaded.
  img: ({ src, alt }) => (
    <a href={typeof src === "string" ? src : undefined} target="_blank" rel="noopener noreferrer">
      {alt || "picture"}
    </a>
  ),
  table: ({ children }) => (
    <div className="table-scroll" tabIndex={0} role="group" aria-label="Table">
      <table>{children}</table>
    </div>
  ),
  pre: ({ children }) => <Code>{children}</Code>,
};

function Code({ children }: { children?: ReactNode }) {
  const [copied, setCopied] = useState(false);
  const { className = "", children: inner = "" } =
    (children as { props?: { className?: string; children?: ReactNode } } | undefined)?.props ?? {};
  const language = /language-([\w+-]+)/.exec(className)?.[1] ?? "text";
  const copy = async () => {
    await navigator.clipboard.writeText(String(inner));
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <div className="code">
      <div className="code-head">
        <span>{language}</span>
        <button type="button" className="button quiet" onClick={() => void copy().catch(() => {})}>
          {copied ? "Copied" : "Copy"}
        </button>
      </div>
      <pre tabIndex={0}>{children}</pre>
    </div>
  );
}

const Block = memo(function Block({ text }: { text: string }) {
  return (
    <div>
      <ReactMarkdown remarkPlugins={PLUGINS} components={COMPONENTS}>
        {text}
      </ReactMarkdown>
    </div>
  );
});

export type MarkdownProps = {
  readonly text: string;
  /** Whether more may come: its end is then shown so that it need not be taken back. */
  readonly streaming?: boolean;
};

/** Markdown that can be written while it is read: only its last block is ever rendered again. */
export const Markdown = memo(function Markdown({ text, streaming = false }: MarkdownProps) {
  const parts = blocks(text);
  if (streaming) parts.push(settled(parts.pop() ?? ""));
  return (
    <div className="markdown" data-streaming={streaming} data-testid="markdown">
      {parts.map((part, index) => (
        // A block keeps its place: text only ever comes behind it.
        <Block key={index} text={part} />
      ))}
    </div>
  );
});
