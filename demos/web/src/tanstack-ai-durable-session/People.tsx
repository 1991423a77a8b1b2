import type { Agent, AgentSpec, Presence, Run } from "durable-ai-browser/session";
import { Icon } from "../ui";
import { Avatar } from "./Avatar";
import { isOpen } from "./Thread";
import type { Me } from "./people";

/** An agent that this demo can call, and what it is for. */
export type KnownAgent = AgentSpec & { readonly name: string; readonly about: string };

type Props = {
  readonly me: Me;
  readonly presence: readonly Presence[];
  readonly agents: readonly Agent[];
  readonly known: readonly KnownAgent[];
  readonly runs: readonly Run[];
  readonly onRename: () => void;
  readonly onAdd: (agent: KnownAgent) => void;
  readonly onRemove: (agentId: string) => void;
  readonly onStop: (messageId: string) => void;
};

const STATUS = { online: "here", away: "away", offline: "gone" } as const;
const ORDER = { online: 0, away: 1, offline: 2 } as const;

/** Who is in the session: people, and agents with whom they answer. */
export function People({ me, presence, agents, known, runs, onRename, ...actions }: Props) {
  const people = presence
    .filter((one) => one.actorType === "user")
    .toSorted((a, b) => ORDER[a.status] - ORDER[b.status] || (a.name ?? "").localeCompare(b.name ?? ""));
  const absent = known.filter((one) => !agents.some((agent) => agent.agentId === one.id));
  return (
    <>
      <h2 className="label">People</h2>
      <ul className="list" data-testid="people">
        {people.map((one) => (
          <li key={one.actorId} className="item" data-testid="person" data-status={one.status}>
            <Avatar id={one.actorId} name={one.name ?? "?"} isAgent={false} status={one.status} />
            <span className="grow">
              {one.name ?? "Somebody"}
              {one.actorId === me.id && <span className="you"> you</span>}
              <small>{STATUS[one.status]}</small>
            </span>
            {one.actorId === me.id && (
              <button type="button" className="button quiet" data-testid="rename" aria-label="Change your name" onClick={onRename}>
                Change
              </button>
            )}
          </li>
        ))}
      </ul>
      <h2 className="label">Agents</h2>
      <ul className="list" data-testid="agents">
        {agents.map((agent) => (
          <Present
            key={agent.agentId}
            agent={agent}
            known={known.find((one) => one.id === agent.agentId)}
            run={runs.find((run) => run.agentId === agent.agentId && isOpen(run))}
            {...actions}
          />
        ))}
        {absent.map((one) => (
          <li key={one.id} className="item absent">
            <Avatar id={one.id} name={one.name} isAgent />
            <span className="grow">
              {one.name}
              <small>{one.about}</small>
            </span>
            <button
              type="button"
              className="button"
              aria-label={`Add ${one.name}`}
              data-testid={`add-${one.id}`}
              onClick={() => actions.onAdd(one)}
            >
              Add
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}

type PresentProps = Pick<Props, "onAdd" | "onRemove" | "onStop"> & {
  readonly agent: Agent;
  readonly known: KnownAgent | undefined;
  readonly run: Run | undefined;
};

function Present({ agent, known, run, onAdd, onRemove, onStop }: PresentProps) {
  const name = agent.name ?? agent.agentId;
  const doing = run && (run.status === "queued" ? "will answer" : "is answering");
  return (
    <li className="item present" data-testid={`agent-${agent.agentId}`}>
      <div className="item-row">
        <Avatar id={agent.agentId} name={name} isAgent status={run ? "online" : undefined} />
        <span className="grow">
          {name}
          <small>{doing ?? known?.about}</small>
        </span>
        {run && (
          <button
            type="button"
            className="button"
            aria-label={`Stop ${name}`}
            data-testid={`stop-${agent.agentId}`}
            onClick={() => onStop(run.messageId)}
          >
            Stop
          </button>
        )}
        <button
          type="button"
          className="button quiet icon"
          aria-label={`Remove ${name}`}
          title={`Remove ${name}`}
          data-testid={`remove-${agent.agentId}`}
          onClick={() => onRemove(agent.agentId)}
        >
          <Icon name="cross" />
        </button>
      </div>
      {known && (
        <label className="answers">
          answers
          <select
            aria-label={`Whom ${name} answers`}
            data-testid={`triggers-${agent.agentId}`}
            value={agent.triggers ?? "user-messages"}
            onChange={(event) => onAdd({ ...known, triggers: event.target.value === "all" ? "all" : "user-messages" })}
          >
            <option value="user-messages">people</option>
            <option value="all">people and agents</option>
          </select>
        </label>
      )}
    </li>
  );
}
