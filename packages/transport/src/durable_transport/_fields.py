"""Header fields without an HTTP library."""

from collections.abc import Iterable, Iterator


class Fields:
    """Header fields in their order; names compare without case."""

    def __init__(self, pairs: Iterable[tuple[bytes, bytes] | tuple[str, str]] = ()) -> None:
        self._pairs = [(_text(name), _text(value)) for name, value in pairs]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._pairs)

    def get(self, name: str) -> str | None:
        """The value of a field, several ones joined by commas (RFC 9110 section 5.3)."""
        wanted = name.lower()
        values = [value for key, value in self._pairs if key.lower() == wanted]
        return ", ".join(values) if values else None


def raw(pairs: Iterable[tuple[str, str]], errors: str = "strict") -> list[tuple[bytes, bytes]]:
    """The bytes that `Fields` was made of: HTTP libraries take text for ASCII, fields may be more.

    Args:
        pairs: Names and values.
        errors: What to do about text that no bytes stand for, as in `str.encode`.
    """
    return [
        (name.encode("latin-1", errors), value.encode("latin-1", errors)) for name, value in pairs
    ]


def split_names(value: str | None) -> set[str]:
    """The lower-case names of a comma-separated list of header names."""
    return {name.strip().lower() for name in (value or "").split(",") if name.strip()}


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
