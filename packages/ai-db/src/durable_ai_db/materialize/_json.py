"""JSON that may go out again: no NaN, no infinities, and not nested without end. Pure."""

import json
import math
from typing import Any, Final

MAX_DEPTH: Final = 200
"""Objects and arrays within each other. Everybody who reads them needs a stack."""


class BadJsonError(ValueError):
    """A text is not JSON, or not of a kind that others can read."""


def parse(text: str) -> Any:
    """The value that a JSON text stands for.

    Raises:
        BadJsonError: It is none.
    """
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise BadJsonError(_TOO_DEEP) from None
    except ValueError as error:
        raise BadJsonError(f"not JSON: {error}") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deep(value):
        raise BadJsonError(_TOO_DEEP)
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return bool(level)


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


_TOO_DEEP: Final = f"nested more than {MAX_DEPTH} levels deep"
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
