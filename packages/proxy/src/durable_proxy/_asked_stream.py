"""The generation whose stream a request is about."""

from starlette.types import Scope

from durable_transport.protocol import GenerationPaths, parse_generation_path


def asked_stream(scope: Scope) -> tuple[GenerationPaths, str] | None:
    """Tell it by the path as it came, which the streams go by too.

    Only its one canonical spelling counts: what was signed has to be what is read.

    Returns:
        The generation's paths, and the one of them that is asked for; None: another stream.
    """
    raw: bytes | None = scope.get("raw_path")
    whole = scope["path"] if raw is None else raw.decode("latin-1")
    path = whole.removeprefix(scope.get("root_path", "")).removeprefix("/")
    found = parse_generation_path(path)
    return None if found is None else (found[0], path)
