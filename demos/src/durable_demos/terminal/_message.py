"""One message on the screen; what of it is there stays, and what is new is added."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Vertical
from textual.widgets import Markdown, Static

from durable_demos.terminal._view import Block, blocks, heading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textual.app import ComposeResult

    from durable_ai_db.materialize import MessageRow


class MessageView(Vertical):
    """A message, whose text may still be growing."""

    def __init__(self, role: str) -> None:
        super().__init__(classes=f"message {role}")
        self._row: MessageRow | None = None
        self._heading = ""
        self._shown: list[Block] = []
        self._widgets: list[Markdown | Static] = []

    def compose(self) -> ComposeResult:
        yield Static(classes="who", markup=False)

    async def show(self, row: MessageRow, me: str, names: Mapping[str, str]) -> None:
        """Show the message as it is now."""
        who = heading(row, me, names)
        if who != self._heading:
            self._heading = who
            self.query_one(".who", Static).update(who)
        if row is self._row:
            return
        self._row = row
        wanted = blocks(row)
        same = 0
        while same < min(len(wanted), len(self._shown)) and (
            wanted[same].kind == self._shown[same].kind
        ):
            same += 1
        for widget in self._widgets[same:]:
            await widget.remove()
        del self._widgets[same:]
        for number, block in enumerate(wanted):
            if number >= same:
                self._widgets.append(_widget(block))
                await self.mount(self._widgets[-1])
            elif block != self._shown[number]:
                await _change(self._widgets[number], self._shown[number].text, block.text)
        self._shown = wanted


def _widget(block: Block) -> Markdown | Static:
    if block.kind == "text":
        return Markdown(block.text, open_links=False)
    return Static(block.text, markup=False, classes=block.kind)


async def _change(widget: Markdown | Static, before: str, now: str) -> None:
    if isinstance(widget, Static):
        widget.update(now)
    elif now.startswith(before):
        await widget.append(now[len(before) :])
    else:
        await widget.update(now)
