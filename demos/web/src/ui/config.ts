/** What the server of a demo has written into its page. */
export type Config = {
  /** Where the proxy reaches the demo's backend, `http://127.0.0.1:5173`. */
  readonly backend: string;
  /** The name of the model that answers. */
  readonly model: string;
};

/** The page's configuration; of a page that no demo has served, guesses that fit a local one. */
export function readConfig(): Config {
  const guess = { backend: location.origin, model: "unknown model" };
  const text = document.getElementById("config")?.textContent;
  return text ? { ...guess, ...(JSON.parse(text) as Partial<Config>) } : guess;
}
