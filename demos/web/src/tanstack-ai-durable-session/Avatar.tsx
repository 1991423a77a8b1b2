import type { Presence } from "durable-ai-browser/session";
import { Icon } from "../ui";
import { hue, initials } from "./people";

type Props = {
  readonly id: string;
  readonly name: string;
  readonly isAgent: boolean;
  readonly status?: Presence["status"] | undefined;
};

/** A person's initials or an agent's sign, in the actor's colour, with a dot that says who is here. */
export function Avatar({ id, name, isAgent, status }: Props) {
  const style = { "--hue": hue(id) } as React.CSSProperties;
  return (
    <span className={isAgent ? "face agent" : "face"} style={style} aria-hidden="true" title={name}>
      {isAgent ? <Icon name="stream" /> : initials(name)}
      {status && <span className={`dot ${status}`} />}
    </span>
  );
}
