"""The rows of a session as they are, and which of them changed. Pure."""

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, get_args

from durable_ai_db.materialize._rows import Collection, Row, RowChange

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES: Final[tuple[Collection, ...]] = get_args(Collection)


class Collections:
    """Rows by collection and key. Each changed row is told of once, however often it changed."""

    __slots__ = ("_changes", "rows", "views")

    def __init__(self) -> None:
        self.rows: dict[Collection, dict[str, Row]] = {name: {} for name in NAMES}
        self.views: dict[Collection, Mapping[str, Any]] = {
            name: MappingProxyType(rows) for name, rows in self.rows.items()
        }
        self._changes: dict[tuple[Collection, str], Row | None] = {}

    def put(self, collection: Collection, key: str, row: Row | None) -> None:
        """A row is another one now, unless it equals what is there, or (None) is gone."""
        before = self.rows[collection].get(key)
        if row is not before and row != before:
            self.put_other(collection, key, row)

    def put_other(self, collection: Collection, key: str, row: Row | None) -> None:
        """A row is another one now, as the caller knows without comparing."""
        if row is None:
            if self.rows[collection].pop(key, None) is None:
                return
        else:
            self.rows[collection][key] = row
        self._changes[collection, key] = row

    def changes(self) -> list[RowChange]:
        """What changed since the last call."""
        changes, self._changes = self._changes, {}
        return [RowChange(collection, key, row) for (collection, key), row in changes.items()]
