"""What the demo looks like: a live board in a terminal, plain lines in a pipe or file."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

TITLE = "An answer that survives its reader"
MAX_WIDTH = 92
FRAMES_PER_SECOND = 15
GLYPHS = {"ok": "✓", "bad": "✗", "dead": "✗", "busy": "●", "cut": "✂"}
ASCII_GLYPHS = {"ok": "+", "bad": "x", "dead": "x", "busy": "*", "cut": "|"}
STYLES = {"ok": "green", "bad": "bold red", "dead": "red", "busy": "yellow"}


@dataclass(frozen=True, slots=True)
class Part:
    """One process on the board."""

    name: str
    state: str
    text: str


class Screen(Protocol):
    """What the story needs of a screen."""

    def starting(self, name: str) -> None:
        """A process is on its way: worth showing only where it will be overwritten."""

    def part(self, name: str, state: str, text: str) -> None:
        """A process has a new state."""

    def answer(self, text: str, *, new_reader: bool = False) -> None:
        """The current reader has received more text."""

    def progress(self, text: str) -> None:
        """A remark that changes all the time, for those who can see it change."""

    def note(self, text: str) -> None:
        """A remark under the answer that the next one replaces."""

    def verdict(self, *, good: bool, label: str, text: str) -> None:
        """One line of the result."""


def _mark(console: Console, state: str) -> str:
    unicode = console.encoding.lower().startswith("utf")
    return (GLYPHS if unicode else ASCII_GLYPHS)[state]


class Board:
    """The screen of a terminal: drawn in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._parts: dict[str, Part] = {}
        self._seen = ""
        self._fresh = ""
        self._note = ""
        self._verdicts: list[tuple[str, str, str]] = []

    def starting(self, name: str) -> None:
        self.part(name, "busy", "starting")

    def part(self, name: str, state: str, text: str) -> None:
        self._parts[name] = Part(name, state, text)

    def answer(self, text: str, *, new_reader: bool = False) -> None:
        if new_reader:
            self._seen, self._fresh = self._fresh, ""
        self._fresh += text

    def progress(self, text: str) -> None:
        self._note = text

    def note(self, text: str) -> None:
        self._note = text

    def verdict(self, *, good: bool, label: str, text: str) -> None:
        self._verdicts.append(("ok" if good else "bad", label, text))

    def __rich__(self) -> RenderableType:
        rows: list[RenderableType] = [Text(TITLE, style="bold"), self._processes()]
        if self._seen or self._fresh:
            width = min(self._console.width, MAX_WIDTH)
            panel = Panel(self._text(), title="answer", title_align="left", width=width)
            panel.border_style = "dim"
            rows.append(panel)
        if self._note:
            rows.append(Text(self._note, style="yellow"))
        if self._verdicts:
            rows.append(self._result())
        return Group(*rows)

    def _processes(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for part in self._parts.values():
            mark = Text(_mark(self._console, part.state), style=STYLES[part.state])
            table.add_row(mark, Text(part.name, style="bold"), Text(part.text))
        return table

    def _text(self) -> Text:
        """The answer: what the dead reader had is dim until the new one has it too."""
        text = Text(self._fresh[: len(self._seen)] if self._seen else self._fresh)
        text.append(self._seen[len(self._fresh) :], style="dim")
        if self._seen or any(part.state == "dead" for part in self._parts.values()):
            text.append(_mark(self._console, "cut"), style="bold red")
        if self._seen:
            text.append(self._fresh[len(self._seen) :], style="green")
        return text

    def _result(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for state, label, text in self._verdicts:
            mark = Text(_mark(self._console, state), style=STYLES[state])
            table.add_row(mark, Text(label, style="bold"), Text(text))
        return table


class Lines:
    """The screen of a pipe: one line per event, the text when it is complete."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._fresh = ""
        console.print(TITLE, markup=False)

    def starting(self, name: str) -> None:
        pass

    def part(self, name: str, state: str, text: str) -> None:
        if state != "busy":
            self._flush()
        self._line(_mark(self._console, state), name, text)

    def answer(self, text: str, *, new_reader: bool = False) -> None:
        if new_reader:
            self._flush()
        self._fresh += text

    def progress(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        self._flush()
        if text:
            self._console.print(f"  {text}", markup=False, highlight=False)

    def verdict(self, *, good: bool, label: str, text: str) -> None:
        self._flush()
        self._line(_mark(self._console, "ok" if good else "bad"), label, text)

    def _line(self, mark: str, label: str, text: str) -> None:
        self._console.print(f"{mark} {label}: {text}", markup=False, highlight=False)

    def _flush(self) -> None:
        if self._fresh:
            self._console.print(Panel(self._fresh, width=min(self._console.width, MAX_WIDTH)))
        self._fresh = ""


@contextmanager
def open_screen(console: Console) -> Iterator[Screen]:
    """The screen that suits the console."""
    if not console.is_terminal:
        yield Lines(console)
        return
    board = Board(console)
    with Live(board, console=console, refresh_per_second=FRAMES_PER_SECOND):
        yield board
