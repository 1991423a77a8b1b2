import { useCallback, useEffect, useState } from "react";
import { ErrorNotice, Thinking, readConfig } from "../ui";
import { NameDialog } from "./NameDialog";
import type { KnownAgent } from "./People";
import { Room } from "./Room";
import { become, whoAmI } from "./people";
import { CannotOpen, addressOf, forget, newRoom, openRoom, roomOf } from "./rooms";

const AGAIN_MS = 3000;
const config = readConfig() as ReturnType<typeof readConfig> & { readonly agents?: readonly KnownAgent[] };

/** Which session it is, whether it is there, and who is in front of the page. */
export function App() {
  const [me, setMe] = useState(whoAmI);
  const [naming, setNaming] = useState(false);
  const { room, opening, problem, go, again } = useRoom();
  const choose = (name: string, someoneElse: boolean) => {
    setMe(become(name, me, someoneElse));
    setNaming(false);
  };
  const onNew = () => go(undefined);
  return (
    <>
      {(naming || !me) && <NameDialog me={me} onChoose={choose} onClose={() => setNaming(false)} />}
      {problem ? (
        <Closed problem={problem} onAgain={again} onNew={onNew} />
      ) : opening || !me ? (
        <main className="closed" data-testid="opening">
          <Thinking label="Opening the session" />
        </main>
      ) : (
        <Room
          key={`${room} ${me.id}`}
          {...{ room, me, onNew }}
          model={config.model}
          known={config.agents ?? []}
          onRename={() => setNaming(true)}
          onOpen={go}
        />
      )}
    </>
  );
}

const TITLES: Readonly<Record<CannotOpen["reason"], string>> = {
  missing: "There is no such session here",
  gone: "This session was deleted",
  down: "The server does not answer",
  "not-ours": "Something else answers in place of the server",
  refused: "The server does not open this session",
};
const DETAILS: Partial<Record<CannotOpen["reason"], string>> = {
  missing: "The link may be old, mistyped, or of another server. What was in it is not lost by that.",
  down: "It is asked again every few seconds. Nothing that was sent is lost.",
};

function Closed(props: { readonly problem: CannotOpen; readonly onAgain: () => void; readonly onNew: () => void }) {
  const { problem, onAgain, onNew } = props;
  const again = { label: "Try again", onClick: onAgain, testId: "open-again" };
  const start = { label: "Start a new session", onClick: onNew, testId: "start-new" };
  const lost = problem.reason === "missing" || problem.reason === "gone";
  return (
    <main className="closed" data-testid="closed" data-reason={problem.reason}>
      <ErrorNotice
        title={TITLES[problem.reason]}
        tone={problem.reason === "down" ? "mild" : "bad"}
        detail={DETAILS[problem.reason] ?? problem.message}
        actions={lost ? [start] : [again, start]}
      />
    </main>
  );
}

/** The session that the address names, opened; a new one when it names none. */
function useRoom() {
  const [room, setRoom] = useState(() => roomOf(location.href) ?? newRoom());
  const [isNew, setIsNew] = useState(() => roomOf(location.href) === undefined);
  const [opening, setOpening] = useState(true);
  const [problem, setProblem] = useState<CannotOpen>();
  const [attempt, setAttempt] = useState(0);

  const go = useCallback((to: string | undefined) => {
    const next = to ?? newRoom();
    setRoom(next);
    setIsNew(to === undefined);
    setOpening(true);
    setProblem(undefined);
    history.pushState(null, "", addressOf(next));
  }, []);
  const again = useCallback(() => setAttempt((before) => before + 1), []);

  useEffect(() => {
    const back = () => {
      setRoom(roomOf(location.href) ?? newRoom());
      setIsNew(roomOf(location.href) === undefined);
      setOpening(true);
    };
    window.addEventListener("popstate", back);
    return () => window.removeEventListener("popstate", back);
  }, []);

  useEffect(() => {
    let live = true;
    let timer: ReturnType<typeof setTimeout> | undefined;
    openRoom(room, isNew).then(
      () => {
        if (!live) return;
        if (isNew) history.replaceState(null, "", addressOf(room));
        setOpening(false);
        setProblem(undefined);
      },
      (error: unknown) => {
        if (!live) return;
        const why = error instanceof CannotOpen ? error : new CannotOpen("refused", String(error));
        if (why.reason === "missing" || why.reason === "gone") forget(room);
        if (why.reason === "down") timer = setTimeout(again, AGAIN_MS);
        setProblem(why);
      },
    );
    return () => {
      live = false;
      clearTimeout(timer);
    };
  }, [room, isNew, attempt, again]);

  return { room, opening, problem, go, again };
}
