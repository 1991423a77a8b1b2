"""Naming and addressing of a generation: one upstream response being written to the log."""

from dataclasses import dataclass
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

NIL_UUID = UUID(int=0)
GENERATIONS = "generations/"
"""What the paths of all generations' streams begin with."""


def to_uuid(text: str, namespace: UUID = NIL_UUID) -> UUID:
    """The UUID v5 of a name: the same text gives the same id on every machine."""
    return uuid5(namespace, text)


@dataclass(frozen=True, slots=True)
class GenerationPaths:
    """Stream paths of one generation, relative to the ``/v1/stream/`` prefix."""

    data: str
    control: str

    @property
    def subject(self) -> str:
        """The generation itself, as signatures and records name it: ``{session}/{request}``."""
        return self.data.removeprefix(GENERATIONS).removesuffix("/data")


def session_prefix(session_id: UUID) -> str:
    """What the paths of the streams of all generations of a session begin with."""
    return f"{GENERATIONS}{session_id}/"


def generation_paths(session_id: UUID, request_id: UUID) -> GenerationPaths:
    """Where a generation's two streams are: a wire fact, the same on every node and client."""
    base = f"{session_prefix(session_id)}{request_id}"
    return GenerationPaths(data=f"{base}/data", control=f"{base}/control")


def parse_generation_path(path: str) -> tuple[GenerationPaths, str] | None:
    """The inverse of `generation_paths`: which generation a stream belongs to, and as what.

    Returns:
        The generation's paths and ``data`` or ``control``; None for any other stream.
    """
    match path.split("/"):
        case ["generations", session, request, "data" | "control" as kind]:
            try:
                paths = generation_paths(UUID(session), UUID(request))
            except ValueError:
                return None
            return (paths, kind) if path in (paths.data, paths.control) else None
        case _:
            return None


class StartAnswer(BaseModel):
    """Answer to ``POST /api/{sessionId}/{requestId}``.

    ``stream_url`` and ``control_url`` are the shape URLs of the original; the two ``durable_*``
    URLs are the same streams on the Durable Streams surface. ``incarnation`` tells this attempt
    from a later one with the same ids.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore"
    )

    session_id: UUID
    request_id: UUID
    stream_url: str
    control_url: str
    content_type: str | None = None
    durable_data_url: str | None = None
    durable_control_url: str | None = None
    urls_expire_at: int | None = None
    """Epoch seconds until which the URLs are good; None: for good."""
    upstream_status: int = 200
    upstream_headers: list[tuple[str, str]] = []
    stop_url: str | None = None
    incarnation: str | None = None
