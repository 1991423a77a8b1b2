import { useEffect, useState } from "react";
import { Icon } from "./Icon";
import { load, save } from "./storage";

type Theme = "light" | "dark";
const KEY = "demo-theme";
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function chosen(): Theme | undefined {
  const theme = load("local", KEY);
  return theme === "light" || theme === "dark" ? theme : undefined;
}

function current(): Theme {
  return chosen() ?? (dark.matches ? "dark" : "light");
}

// Before the first paint, so that nothing flashes.
document.documentElement.dataset["theme"] = current();

/** Dark or light: the system's wish until the user says otherwise. */
export function ThemeToggle() {
  const [theme, setTheme] = useState(current);

  useEffect(() => {
    document.documentElement.dataset["theme"] = theme;
  }, [theme]);
  useEffect(() => {
    const follow = () => setTheme(current());
    dark.addEventListener("change", follow);
    return () => dark.removeEventListener("change", follow);
  }, []);

  const other: Theme = theme === "dark" ? "light" : "dark";
  const label = `Switch to the ${other} theme`;
  return (
    <button
      type="button"
      className="button quiet icon"
      aria-label={label}
      title={label}
      data-testid="theme"
      onClick={() => {
        save("local", KEY, other);
        setTheme(other);
      }}
    >
      <Icon name={theme === "dark" ? "sun" : "moon"} />
    </button>
  );
}
