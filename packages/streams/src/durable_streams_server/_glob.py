"""Patterns over stream paths (PROTOCOL section 6.2). Pure.

``*`` is exactly one segment, ``**`` any number of them, also none; anything else is itself. A star
that is part of a name is written ``%2A``.
"""

from dataclasses import dataclass
from itertools import takewhile
from typing import Self

from durable_streams_server._path import MAX_PATH_LENGTH, InvalidPathError, stream_path

_ONE = "*"
_ANY = "**"


class PatternError(ValueError):
    """The text is no pattern; it says why."""


@dataclass(frozen=True, slots=True)
class _Segment:
    """One segment of a pattern; ``text`` is None for a wildcard."""

    text: str | None
    repeats: bool = False

    def takes(self, name: str) -> bool:
        if self.text is None:
            return self.repeats or name != ""
        return name == self.text


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern, ready to be matched.

    Attributes:
        text: As it was written.
        prefix: What every path that matches begins with.
    """

    text: str
    prefix: str
    _segments: tuple[_Segment, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern.

        Raises:
            PatternError: empty, too long, a star that is not a whole segment, or a literal segment
                that no stream's path can have.
        """
        text = text.removeprefix("/")
        if not text or len(text) > MAX_PATH_LENGTH:
            raise PatternError(f"a pattern has 1 to {MAX_PATH_LENGTH} characters")
        segments = tuple(map(_segment, text.split("/")))
        literal = [one.text or "" for one in takewhile(lambda one: one.text, segments)]
        return cls(text, "/".join(literal), segments)

    def matches(self, path: str) -> bool:
        """Whether the stream's canonical path matches; takes pattern times path steps at most."""
        if not path.startswith(self.prefix):
            return False
        states = self._past_repeats({0})
        for name in path.split("/"):
            following = {
                state if self._segments[state].repeats else state + 1
                for state in states
                if state < len(self._segments) and self._segments[state].takes(name)
            }
            states = self._past_repeats(following)
        return len(self._segments) in states

    def _past_repeats(self, states: set[int]) -> set[int]:
        """With what follows a ``**`` that takes no more."""
        reached = set(states)
        for state in range(len(self._segments)):
            if state in reached and self._segments[state].repeats:
                reached.add(state + 1)
        return reached


def _segment(text: str) -> _Segment:
    if text == _ANY:
        return _Segment(None, repeats=True)
    if text == _ONE:
        return _Segment(None)
    if "*" in text:
        raise PatternError(
            "in a pattern * and ** are whole segments; a star that is part of a name is %2A"
        )
    try:
        return _Segment(stream_path(text))
    except InvalidPathError as error:
        raise PatternError(str(error)) from error
