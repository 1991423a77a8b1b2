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


def split_names(value: str | None) -> set[str]:
    """The lower-case names of a comma-separated list of header names."""
    return {name.strip().lower() for name in (value or "").split(",") if name.strip()}


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
