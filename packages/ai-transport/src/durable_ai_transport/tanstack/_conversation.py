"""The list of messages that a processor works on, and its changes. Pure."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from durable_ai_transport.tanstack._messages import (
    Change,
    Part,
    UIMessage,
    changed,
    find_call,
    in_iso,
    iso_time,
    mapping,
    merge_metadata,
)

_KEPT_OFF_MESSAGES: Final = ("content", "args")


class Conversation:
    """Messages by their order and their ids; a message is replaced, never changed.

    Args:
        messages: Those there are.
        clock: Epoch seconds, for messages that come without a time.
    """

    def __init__(self, messages: Iterable[UIMessage], clock: Callable[[], float]) -> None:
        self._clock = clock
        self.hold(messages)

    def hold(self, messages: Iterable[UIMessage]) -> None:
        """Go on with these messages."""
        self.messages: list[UIMessage] = list(messages)
        # Servers that use an id twice exist; a change is then one of both messages.
        self._places: dict[str, list[int]] = {}
        for place, message in enumerate(self.messages):
            self._places.setdefault(message["id"], []).append(place)

    def find(self, name: str | None) -> UIMessage | None:
        """The message of an id."""
        places = self._places.get(name or "")
        return self.messages[places[0]] if places else None

    def owner(self, call_id: str) -> str | None:
        """The id of the message that has a tool call."""
        for message in self.messages:
            if find_call(message["parts"], call_id) is not None:
                return message["id"]
        return None

    def calls(self, call_id: str) -> list[Part]:
        """The parts of a tool call; a call that was resumed may be in two messages."""
        found = (find_call(message["parts"], call_id) for message in self.messages)
        return [part for part in found if part is not None]

    def change_call(self, call_id: str, change: Change) -> None:
        """Change every message that has a tool call."""
        for place, message in enumerate(self.messages):
            if find_call(message["parts"], call_id) is not None:
                self.messages[place] = changed(message, parts=change(message["parts"]))

    def add(self, name: str, role: Any, parts: list[Part]) -> UIMessage:
        """Put a message at the end."""
        message: UIMessage = {"id": name, "role": role, "parts": parts}
        message["createdAt"] = in_iso(self._clock())
        self._places.setdefault(name, []).append(len(self.messages))
        self.messages.append(message)
        return message

    def remove(self, name: str) -> None:
        """Take a message out."""
        self.hold(one for one in self.messages if one["id"] != name)

    def rename(self, old: str, new: str) -> None:
        """Give a message another id."""
        self.hold(changed(one, id=new) if one["id"] == old else one for one in self.messages)

    def change(self, name: str | None, change: Change) -> None:
        """Change a message's parts."""
        for place in self._places.get(name or "", ()):
            message = self.messages[place]
            self.messages[place] = changed(message, parts=change(message["parts"]))

    def merge(self, name: str, metadata: Any) -> None:
        """Add what an event's metadata says about the message."""
        message = self.find(name)
        if message is None or not isinstance(metadata, Mapping):
            return
        incoming = dict(metadata)
        ours = mapping(incoming.get("tanstack"))
        if any(key in ours for key in _KEPT_OFF_MESSAGES):
            kept = {key: value for key, value in ours.items() if key not in _KEPT_OFF_MESSAGES}
            incoming["tanstack"] = kept
        merged = merge_metadata(message.get("metadata"), incoming)
        created = iso_time(ours.get("createdAt"))
        time_too = {"createdAt": created} if created else {}
        for place in self._places[name]:
            self.messages[place] = changed(self.messages[place], metadata=merged, **time_too)
