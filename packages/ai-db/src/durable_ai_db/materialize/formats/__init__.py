"""The chunk formats that are known. Pure."""

from typing import Final

from durable_ai_db.materialize._format import ChunkFormat
from durable_ai_db.materialize.formats._tanstack import TANSTACK

DEFAULT_FORMATS: Final[tuple[ChunkFormat, ...]] = (TANSTACK,)

__all__ = ["DEFAULT_FORMATS", "TANSTACK"]
