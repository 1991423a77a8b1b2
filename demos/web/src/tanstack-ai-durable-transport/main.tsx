import type { ConnectionState } from "durable-ai-browser";
import { durableTransport } from "durable-ai-browser/tanstack";
import { mount, observable, readConfig, sessionOfPage } from "../ui";
import { ChatPage } from "./ChatPage";

const { backend, model } = readConfig();
const page = sessionOfPage();
const [onConnection, useConnection] = observable<ConnectionState>("idle");

// All there is to it: where the proxy is, and where it finds the chat endpoint.
const durable = durableTransport(
  page.session,
  { proxyUrl: "/durable", onConnection },
  { api: `${backend}/api/chat` },
);

function App() {
  return <ChatPage page={page} model={model} durable={durable} connection={useConnection()} />;
}

mount(<App />);
