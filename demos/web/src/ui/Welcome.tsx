export type Suggestion = {
  readonly title: string;
  readonly detail: string;
  /** What is sent. */
  readonly text: string;
};

/** What every demo can show, whatever its model is. */
export const SUGGESTIONS: readonly Suggestion[] = [
  {
    title: "Explain durable streams",
    detail: "A long answer: reload, go offline, open a second tab",
    text: "Explain durable streams, please.",
  },
  {
    title: "The weather in Bergen",
    detail: "A tool whose request is streamed",
    text: "What is the weather in Bergen?",
  },
  {
    title: "Send Ada an e-mail",
    detail: "A tool that asks you first, also after a reload",
    text: "Send Ada an e-mail about the launch.",
  },
  {
    title: "Fail in the middle",
    detail: "What an error looks like, and the way on",
    text: "Begin to answer, and then fail.",
  },
];

export type WelcomeProps = {
  readonly title: string;
  readonly text: string;
  readonly suggestions?: readonly Suggestion[];
  readonly onPick: (text: string) => void;
};

/** A conversation that has not begun. */
export function Welcome({ title, text, suggestions = SUGGESTIONS, onPick }: WelcomeProps) {
  return (
    <section className="welcome" data-testid="welcome">
      <h2>{title}</h2>
      <p>{text}</p>
      <div className="suggestions">
        {suggestions.map((one) => (
          <button
            key={one.title}
            type="button"
            className="suggestion"
            data-testid="suggestion"
            onClick={() => onPick(one.text)}
          >
            <b>{one.title}</b>
            <span>{one.detail}</span>
          </button>
        ))}
      </div>
    </section>
  );
}
