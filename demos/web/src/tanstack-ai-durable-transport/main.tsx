import type { ConnectionState, StorageState } from "durable-ai-browser";
import { durableTransport } from "durable-ai-browser/tanstack";
import { mount, observable, readConfig, sessionOfPage } from "../ui";
import { ChatPage } from "./ChatPage";

const { backend, model } = readConfig();
const page = sessionOfPage();
const [onConnection, useConnection] = observable<ConnectionState>("idle");
const [onStorage, useStorage] = observable<StorageState>("kept");

// All there is to it: where the proxy is, and where it finds the chat endpoint.
const durable = durableTransport(
  page.session,
  { proxyUrl: "/durable", onConnection, onStorage },
  { api: `${backend}/api/chat` },
);

function App() {
  const [connection, storage] = [useConnection(), useStorage()];
  return <ChatPage {...{ page, model, durable, connection, storage }} />;
}

mount(<App />);
