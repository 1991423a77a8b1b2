"""Live queries: collections with changes, and collections derived from them, kept up to date."""

from durable_ai_db.live._aggregates import (
    Accumulator,
    Aggregate,
    count,
    greatest,
    least,
    mean,
    rows,
    total,
)
from durable_ai_db.live._changes import Change, Deleted, Inserted, Updated
from durable_ai_db.live._collection import (
    Collection,
    Groups,
    LiveValue,
    Ordered,
    QueryFailed,
    Source,
    Subscription,
)
from durable_ai_db.live._feed import Feed, follow
from durable_ai_db.live._graph import Graph
from durable_ai_db.live._operators import Patch

__all__ = [
    "Accumulator",
    "Aggregate",
    "Change",
    "Collection",
    "Deleted",
    "Feed",
    "Graph",
    "Groups",
    "Inserted",
    "LiveValue",
    "Ordered",
    "Patch",
    "QueryFailed",
    "Source",
    "Subscription",
    "Updated",
    "count",
    "follow",
    "greatest",
    "least",
    "mean",
    "rows",
    "total",
]
