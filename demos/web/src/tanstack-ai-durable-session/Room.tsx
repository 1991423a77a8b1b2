import { useDurableChat } from "durable-ai-browser/react";
import { useCallback, useEffect, useMemo, useState } from "react";
import { Composer, ConnectionBadge, Icon, MessageList, Shell, StopButton, Welcome, useOnline } from "../ui";
import { Avatar } from "./Avatar";
import { CopyButton } from "./CopyButton";
import { Notices, isLost } from "./Notices";
import { Panel, type Tab } from "./Panel";
import type { KnownAgent } from "./People";
import { type Actions, Thread, isOpen } from "./Thread";
import { connectionOf, namesOf, titleOf, whoIn } from "./look";
import type { Me } from "./people";
import { type Visited, addressOf, forget, visit } from "./rooms";

const SERVICE = "/durable";
const FACES = 4;

type Props = {
  readonly room: string;
  readonly me: Me;
  readonly model: string;
  readonly known: readonly KnownAgent[];
  readonly onRename: () => void;
  readonly onNew: () => void;
  readonly onOpen: (room: string) => void;
};

/** A session: the conversation, and beside it who is there, its log, and the other sessions. */
export function Room({ room, me, model, known, onRename, onNew, onOpen }: Props) {
  const chat = useDurableChat({ sessionId: room, url: SERVICE, actor: me, create: false });
  const { messages, runs, agents, presence, approvals } = chat;
  const [tab, setTab] = useState<Tab>("people");
  const [asideOpen, setAsideOpen] = useState(false);
  const [rooms, setRooms] = useState<readonly Visited[]>(() => visit(room));
  const [fork, setFork] = useState<string>();
  const [stopping, setStopping] = useState(false);
  const online = useOnline();

  const title = titleOf(messages);
  useEffect(() => {
    setRooms(visit(room, title));
    document.title = title ? `${title} · Durable session` : "Durable session";
  }, [room, title]);

  const open = runs.filter(isOpen);
  const isBusy = open.length > 0;
  useEffect(() => {
    if (!isBusy) setStopping(false);
  }, [isBusy]);

  // Heartbeats change the presence all the time, and the names hardly ever.
  const names = JSON.stringify(namesOf(me, known, agents, presence));
  const who = useMemo(() => whoIn(JSON.parse(names) as ReturnType<typeof namesOf>, me), [names, me]);

  const { fork: forkSession, regenerate, addToolApprovalResponse, registerAgents } = chat;
  const actions = useMemo<Actions>(
    () => ({
      regenerate: (messageId, content) => void regenerate(messageId, content === undefined ? {} : { content }),
      answer: (id, approved) => void addToolApprovalResponse({ id, approved }),
      fork: (atMessageId) =>
        void forkSession({ atMessageId }).then(
          ({ sessionId }) => {
            setFork(sessionId);
            visit(sessionId, `Fork of ${title ?? "a session"}`);
            setRooms(visit(room));
          },
          () => undefined, // the session's error says it
        ),
    }),
    [regenerate, addToolApprovalResponse, forkSession, title, room],
  );
  const send = useCallback((text: string) => void chat.sendMessage(text), [chat.sendMessage]);
  const stop = () => {
    setStopping(true);
    chat.stop().catch(() => setStopping(false));
  };

  const here = presence.filter((one) => one.actorType === "user" && one.status !== "offline");
  const speakers = [...new Set(open.map((run) => who(run.agentId).name))].join(" and ");
  return (
    <Shell
      title={title ?? "New session"}
      subtitle={model}
      badge={<ConnectionBadge state={connectionOf(chat, online)} />}
      actions={
        <>
          <button
            type="button"
            className="faces"
            data-testid="faces"
            aria-label={`${here.length} here: ${here.map((one) => one.name).join(", ")}`}
            onClick={() => {
              setTab("people");
              setAsideOpen(true);
            }}
          >
            {here.slice(0, FACES).map((one) => (
              <Avatar key={one.actorId} id={one.actorId} name={one.name ?? "?"} isAgent={false} status={one.status} />
            ))}
            {here.length > FACES && <span className="more">+{here.length - FACES}</span>}
          </button>
          <CopyButton text={addressOf(room)} label="Share" testId="share" className="button share" />
          <button
            type="button"
            className="button icon only-narrow"
            aria-label="People, log and sessions"
            aria-expanded={asideOpen}
            data-testid="panel-toggle"
            onClick={() => setAsideOpen(!asideOpen)}
          >
            <Icon name={asideOpen ? "cross" : "stream"} />
          </button>
        </>
      }
      asideOpen={asideOpen}
      aside={
        <Panel
          {...{ tab, chat, me, known, who, rooms, room, onRename, onNew, onOpen }}
          onTab={setTab}
          onClose={() => setAsideOpen(false)}
          onAdd={(agent) => void registerAgents([agent])}
          onForget={(one) => setRooms(forget(one))}
        />
      }
      footer={
        <>
          <Notices chat={chat} fork={fork} onForkSeen={() => setFork(undefined)} onNew={onNew} />
          {isBusy && (
            <div className="speaking" data-testid="speaking">
              <span className="grow" role="status">
                {speakers} {open.length > 1 ? "are" : "is"} answering
              </span>
              <StopButton onStop={stop} stopping={stopping} />
            </div>
          )}
          {!(chat.error && isLost(chat.error)) && (
            <Composer
              draftKey={`${room}:${me.id}`}
              placeholder={`Message as ${me.name}`}
              onSend={send}
              hint={
                <span className="wide">
                  Enter sends, Shift+Enter breaks the line. Everybody with the link sees it, now and later.
                </span>
              }
            />
          )}
        </>
      }
    >
      <MessageList>
        {messages.length === 0 && chat.isReady ? (
          <Welcome
            title="One conversation for people and agents"
            text="It is a log on the server: reload, open it in a second tab, send the link to somebody, kill the server. Everybody sees the same, and nobody’s answer is lost."
            onPick={send}
          />
        ) : (
          <Thread {...{ messages, runs, approvals, who, actions }} />
        )}
      </MessageList>
    </Shell>
  );
}
