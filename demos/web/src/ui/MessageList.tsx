import { useCallback, useLayoutEffect, useRef, useState, type ReactNode } from "react";
import { Icon } from "./Icon";

/** As near to the end as counts as being there, in pixels. */
const NEAR = 48;

/**
 * What scrolls. It follows what is written at its end until the user scrolls up, and again when
 * they come back down, by themselves or with the button.
 */
export function MessageList({ children }: { children: ReactNode }) {
  const box = useRef<HTMLDivElement>(null);
  const column = useRef<HTMLDivElement>(null);
  const follows = useRef(true);
  const [away, setAway] = useState(false);

  const toEnd = useCallback((behavior: ScrollBehavior) => {
    follows.current = true;
    setAway(false);
    box.current?.scrollTo({ top: box.current.scrollHeight, behavior });
  }, []);

  useLayoutEffect(() => {
    const [scrolled, grows] = [box.current, column.current];
    if (!scrolled || !grows) return;
    let top = scrolled.scrollTop;
    const onScroll = () => {
      const rest = scrolled.scrollHeight - scrolled.clientHeight - scrolled.scrollTop;
      // What is written below moves the end away from us; only going up is the user's wish.
      if (rest < NEAR) follows.current = true;
      else if (scrolled.scrollTop < top) follows.current = false;
      top = scrolled.scrollTop;
      setAway(!follows.current);
    };
    const watch = new ResizeObserver(() => {
      if (follows.current) scrolled.scrollTop = scrolled.scrollHeight;
    });
    watch.observe(grows);
    watch.observe(scrolled);
    scrolled.addEventListener("scroll", onScroll, { passive: true });
    return () => {
      watch.disconnect();
      scrolled.removeEventListener("scroll", onScroll);
    };
  }, []);

  return (
    <>
      <div className="messages" ref={box} data-testid="messages" tabIndex={-1}>
        <div className="messages-column" ref={column} role="log" aria-label="Conversation">
          {children}
        </div>
      </div>
      {away && (
        <button
          type="button"
          className="button jump"
          data-testid="jump"
          onClick={() => toEnd("smooth")}
        >
          <Icon name="down" />
          Latest
        </button>
      )}
    </>
  );
}
