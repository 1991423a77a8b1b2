"""JSON as the AI SDK reads it, complete and incomplete. Pure.

A tool's input is shown while it comes. `PartialJson` is told of it piece by piece and makes the
best value of what there is, the same one as the SDK's ``parsePartialJson``: the text up to the last
character that can be kept, and what closes it. Scanning costs each character once, however often
the value is asked for.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from enum import Enum, auto
from types import EllipsisType
from typing import Any, Final

_PLAIN: Final = re.compile(r'[^"\\]+')
_DIGITS: Final = frozenset("0123456789")
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_HEX_DIGITS: Final = 4
_LITERALS: Final = ("true", "false", "null")
_LONGEST_NUMBER: Final = 309
"""Digits; what is longer is infinite in JavaScript."""

UNDEFINED: Final = ...
"""What JavaScript's undefined is here: there is no value."""


class _State(Enum):
    ROOT = auto()
    END = auto()
    STRING = auto()
    ESCAPE = auto()
    UNICODE = auto()
    LITERAL = auto()
    NUMBER = auto()
    OBJECT = auto()
    KEY = auto()
    AFTER_KEY = auto()
    BEFORE_VALUE = auto()
    AFTER_VALUE = auto()
    AFTER_COMMA = auto()
    ARRAY = auto()
    AFTER_ITEM = auto()
    AFTER_ITEM_COMMA = auto()


_S = _State
_CLOSED_BY: Final[Mapping[_State, str]] = {
    _S.STRING: '"',
    **dict.fromkeys(
        (_S.OBJECT, _S.KEY, _S.AFTER_KEY, _S.BEFORE_VALUE, _S.AFTER_VALUE, _S.AFTER_COMMA), "}"
    ),
    **dict.fromkeys((_S.ARRAY, _S.AFTER_ITEM, _S.AFTER_ITEM_COMMA), "]"),
}
_OPENS: Final[Mapping[str, _State]] = {
    '"': _S.STRING,
    "{": _S.OBJECT,
    "[": _S.ARRAY,
    **dict.fromkeys("ftn", _S.LITERAL),
    **dict.fromkeys(_DIGITS | {"-"}, _S.NUMBER),
}
_MOVES: Final[Mapping[tuple[_State, str], _State]] = {
    (_S.OBJECT, '"'): _S.KEY,
    (_S.AFTER_COMMA, '"'): _S.KEY,
    (_S.KEY, '"'): _S.AFTER_KEY,
    (_S.AFTER_KEY, ":"): _S.BEFORE_VALUE,
    (_S.AFTER_VALUE, ","): _S.AFTER_COMMA,
    (_S.AFTER_ITEM, ","): _S.AFTER_ITEM_COMMA,
}
_ENDS: Final[frozenset[tuple[_State, str]]] = frozenset(
    {(_S.OBJECT, "}"), (_S.AFTER_VALUE, "}"), (_S.ARRAY, "]"), (_S.AFTER_ITEM, "]")}
)
_VALUE_IN: Final[Mapping[_State, _State]] = {
    _S.ROOT: _S.END,
    _S.BEFORE_VALUE: _S.AFTER_VALUE,
    _S.ARRAY: _S.AFTER_ITEM,
    _S.AFTER_ITEM_COMMA: _S.AFTER_ITEM,
}


class PartialJson:
    """A JSON text that comes in pieces.

    Attributes:
        text: What there is of it.
    """

    def __init__(self, text: str = "") -> None:
        self.text = ""
        self._stack = [_S.ROOT]
        self._kept = 0
        self._literal = 0
        self._hex = 0
        self.feed(text)

    def feed(self, piece: str) -> None:
        """There is more of it."""
        start = len(self.text)
        self.text = joined(self.text, piece)
        at = start
        while at < len(self.text):
            at = self._step(at)

    def value(self) -> Any:
        """What it comes to so far; `UNDEFINED` when nothing can be made of it."""
        value = parse(self.text)
        return parse(self._repaired()) if value is UNDEFINED else value

    # ------------------------------------------------------------------ the scanner

    def _step(self, at: int) -> int:
        """Take the character there; return where the next one is."""
        state = self._stack[-1]
        if state is _S.STRING and (run := _PLAIN.match(self.text, at)):
            self._kept = run.end()
            return self._kept
        char = self.text[at]
        if (scan := _SCANS.get(state)) is not None:
            scan(self, char, at)
        else:
            self._structure(state, char, at)
        return at + 1

    def _structure(self, state: _State, char: str, at: int) -> None:
        if (state, char) in _ENDS:
            self._kept = at + 1
            self._stack.pop()
        elif (state, char) in _MOVES:
            self._stack[-1] = _MOVES[state, char]
        elif state in _VALUE_IN and char in _OPENS:
            self._open(_VALUE_IN[state], char, at)
        elif state is _S.AFTER_ITEM:
            self._kept = at + 1

    def _open(self, after: _State, char: str, at: int) -> None:
        if char != "-":
            self._kept = at + 1
        if _OPENS[char] is _S.LITERAL:
            self._literal = at
        self._stack[-1] = after
        self._stack.append(_OPENS[char])

    def _string(self, char: str, at: int) -> None:
        if char == '"':
            self._kept = at + 1
            self._stack.pop()
        else:
            self._stack.append(_S.ESCAPE)

    def _escape(self, char: str, at: int) -> None:
        self._stack.pop()
        if char == "u":
            self._hex = 0
            self._stack.append(_S.UNICODE)
        else:
            self._kept = at + 1

    def _unicode(self, char: str, at: int) -> None:
        if char in _HEX:
            self._hex += 1
            if self._hex == _HEX_DIGITS:
                self._stack.pop()
                self._kept = at + 1

    def _number(self, char: str, at: int) -> None:
        if char in _DIGITS:
            self._kept = at + 1
        elif char not in "eE-.":
            self._stack.pop()
            self._after_value(char, at, ends=",}]")

    def _literal_char(self, char: str, at: int) -> None:
        so_far = self.text[self._literal : at + 1]
        if any(literal.startswith(so_far) for literal in _LITERALS):
            self._kept = at + 1
        else:
            self._stack.pop()
            self._after_value(char, at, ends=",}]")

    def _after_value(self, char: str, at: int, *, ends: str) -> None:
        """What ended a number or a literal may end what it is in as well."""
        state = self._stack[-1]
        if char in ends and ((state, char) in _ENDS or (state, char) in _MOVES):
            self._structure(state, char, at)

    def _repaired(self) -> str:
        closing = [self.text[: self._kept]]
        for state in reversed(self._stack):
            if state is _S.LITERAL:
                so_far = self.text[self._literal :]
                whole = next(one for one in _LITERALS if one.startswith(so_far))
                closing.append(whole[len(so_far) :])
            else:
                closing.append(_CLOSED_BY.get(state, ""))
        return "".join(closing)


_SCANS: Final[Mapping[_State, Callable[[PartialJson, str, int], None]]] = {
    _S.STRING: PartialJson._string,  # noqa: SLF001
    _S.ESCAPE: PartialJson._escape,  # noqa: SLF001
    _S.UNICODE: PartialJson._unicode,  # noqa: SLF001
    _S.NUMBER: PartialJson._number,  # noqa: SLF001
    _S.LITERAL: PartialJson._literal_char,  # noqa: SLF001
}


def joined(text: str, piece: str) -> str:
    """The two in one; halves of a surrogate pair, which JavaScript may cut apart, become one."""
    if text and piece and "\ud800" <= text[-1] <= "\udbff" and "\udc00" <= piece[0] <= "\udfff":
        pair = (text[-1] + piece[0]).encode("utf-16", "surrogatepass").decode("utf-16")
        return text[:-1] + pair + piece[1:]
    return text + piece


def parse(text: str) -> Any | EllipsisType:
    """The value of a JSON text, `UNDEFINED` when it is none that the SDK takes.

    The SDK refuses objects that would change what all objects inherit from.
    """
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return UNDEFINED
    suspect = "\\u" in text or "__proto__" in text or "constructor" in text
    return UNDEFINED if suspect and _reaches_prototypes(value) else value


def _reaches_prototypes(value: Any) -> bool:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case {"__proto__": _} | {"constructor": {"prototype": _}}:
                return True
            case dict() as found:
                waiting += found.values()
            case list() as found:
                waiting += found
    return False


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _finite(text: str) -> float | None:
    # JavaScript reads what is too large as infinite, and JSON of that is null.
    number = float(text)
    return number if math.isfinite(number) else None


def _whole(text: str) -> int | None:
    return int(text) if len(text) <= _LONGEST_NUMBER else None


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, parse_int=_whole)
