import { useChat } from "@ai-sdk/react";
import { lastAssistantMessageIsCompleteWithApprovalResponses } from "ai";
import {
  type ConnectionState,
  GenerationNotFound,
  ProxyError,
  type StorageState,
} from "durable-ai-browser";
import { durableTransport } from "durable-ai-browser/ai-sdk";
import { mount, observable, readConfig, sessionOfPage, useOnline } from "../ui";
import { ChatPage } from "./ChatPage";

const { backend, model } = readConfig();
const page = sessionOfPage();
const [onConnection, useConnection] = observable<ConnectionState>("idle");
const [onStorage, useStorage] = observable<StorageState>("kept");

// All there is to it: where the proxy is, and where it finds the chat endpoint.
const { durableSession } = durableTransport(
  page.session,
  { proxyUrl: "/durable", onConnection, onStorage },
  { api: `${backend}/api/chat` },
  { sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses },
);

function Chat() {
  const chat = useChat(durableSession);
  const connection = useConnection();
  const storage = useStorage();
  const online = useOnline();

  const retry = async () => {
    if (chat.error instanceof ProxyError) {
      // The answer may well go on at the server, and then it is not asked for a second time.
      await chat.resumeStream();
      const { status, error, lastMessage } = durableSession.chat;
      const isUnanswered = status === "ready" && lastMessage?.role === "user";
      if (isUnanswered || error instanceof GenerationNotFound) await chat.regenerate();
    } else {
      await chat.regenerate();
    }
  };

  return (
    <ChatPage
      page={page}
      model={model}
      messages={chat.messages}
      status={chat.status}
      error={chat.error}
      storage={storage}
      connection={online ? connection : "offline"}
      onSend={(text) => void chat.sendMessage({ text })}
      onStop={() => void chat.stop()}
      onRetry={() => void retry()}
      onDecide={(id, approved) => void chat.addToolApprovalResponse({ id, approved })}
    />
  );
}

mount(<Chat />);
