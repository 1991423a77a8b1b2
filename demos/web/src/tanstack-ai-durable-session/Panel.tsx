import type { UseDurableChatReturn } from "durable-ai-browser/react";
import { type KeyboardEvent, useCallback } from "react";
import { Inspector } from "./Inspector";
import { type KnownAgent, People } from "./People";
import { Sessions } from "./Sessions";
import type { Who } from "./Thread";
import type { Me } from "./people";
import type { Visited } from "./rooms";
import { useLog } from "./useLog";

const TABS = { people: "People", log: "Live log", sessions: "Sessions" } as const;
export type Tab = keyof typeof TABS;
const ORDER = Object.keys(TABS) as Tab[];

type Props = {
  readonly tab: Tab;
  readonly chat: UseDurableChatReturn;
  readonly me: Me;
  readonly known: readonly KnownAgent[];
  readonly who: (actorId: string) => Who;
  readonly room: string;
  readonly rooms: readonly Visited[];
  readonly onTab: (tab: Tab) => void;
  readonly onClose: () => void;
  readonly onRename: () => void;
  readonly onAdd: (agent: KnownAgent) => void;
  readonly onNew: () => void;
  readonly onOpen: (room: string) => void;
  readonly onForget: (room: string) => void;
};

/** What is beside the conversation; a drawer on a narrow screen. */
export function Panel({ tab, chat, who, room, rooms, onTab, onClose, onNew, onOpen, onForget, ...people }: Props) {
  const log = useLog(`/durable/v1/stream/sessions/${encodeURIComponent(room)}`, tab === "log", chat.offset);
  const name = useCallback((actorId: string) => who(actorId).name, [who]);
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    const next = ORDER[(ORDER.indexOf(tab) + step + ORDER.length) % ORDER.length] ?? tab;
    onTab(next);
    document.getElementById(`tab-${next}`)?.focus();
  };
  return (
    <div className="panel" data-testid="panel" onKeyDown={(event) => event.key === "Escape" && onClose()}>
      <div className="tabs" role="tablist" aria-label="Beside the conversation" onKeyDown={onKeyDown}>
        {ORDER.map((one) => (
          <button
            key={one}
            id={`tab-${one}`}
            type="button"
            role="tab"
            className="tab"
            aria-selected={tab === one}
            aria-controls="tab-panel"
            tabIndex={tab === one ? 0 : -1}
            data-testid={`tab-${one}`}
            onClick={() => onTab(one)}
          >
            {TABS[one]}
          </button>
        ))}
      </div>
      <div id="tab-panel" role="tabpanel" aria-labelledby={`tab-${tab}`} className={`tab-panel ${tab}`}>
        {tab === "people" && (
          <People
            {...people}
            presence={chat.presence}
            agents={chat.agents}
            runs={chat.runs}
            onRemove={(agentId) => void chat.unregisterAgent(agentId)}
            onStop={(messageId) => void chat.stop(messageId)}
          />
        )}
        {tab === "log" && <Inspector log={log} name={name} />}
        {tab === "sessions" && <Sessions {...{ room, rooms, onNew, onOpen, onForget }} />}
      </div>
    </div>
  );
}
