"""The commands' log: one line for each notable event, for people or for machines.

What an event is about goes into fields (``extra=fields(...)``): names, numbers and errors, never
secrets or what a stream holds.
"""

import json
import logging
import re
import sys
import time
from datetime import UTC, datetime
from typing import Any

from durable_streams_server._exchange import Message, Receive, Scope, Send, raw_path

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

_FIELDS = "fields"
_REQUEST_ID = re.compile(rb"[\w.:/+=-]{1,128}", re.ASCII)

logger = logging.getLogger("durable_streams_server")


def fields(**values: object) -> dict[str, object]:
    """What an event is about, as the ``extra`` of a logging call."""
    return {_FIELDS: values}


def configure(form: str, level: str) -> None:
    """Log to standard error in one of `FORMATS`, what is at least as grave as one of `LEVELS`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("durable_streams_server", "durable_proxy"):
        logging.getLogger(name).setLevel(level.upper())


class TextFormatter(logging.Formatter):
    """A line for people; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        values = "".join(f" {name}={_shown(value)}" for name, value in _values(record).items())
        line = f"{_time(record)} {record.levelname.lower()} {record.getMessage()}{values}"
        return line if record.exc_info is None else f"{line}\n{_traceback(self, record)}"


class JsonFormatter(logging.Formatter):
    """One JSON object on one line, tracebacks and all."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        told: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_values(record),
        }
        if record.exc_info is not None:
            told["traceback"] = _traceback(self, record)
        return json.dumps(told, default=str)


def _shown(value: object) -> str:
    # An enumeration's own repr is for programmers.
    return repr(str(value) if isinstance(value, str) else value)


def _values(record: logging.LogRecord) -> dict[str, object]:
    values: dict[str, object] = getattr(record, _FIELDS, {})
    return values


def _time(record: logging.LogRecord) -> str:
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return time.replace("+00:00", "Z")


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return formatter.formatException(record.exc_info) if record.exc_info else ""


class LoggedApp:
    """An ASGI application whose every request is an event of level ``debug``.

    A live answer is told when it ends. The request's ``X-Request-ID`` is told with it, if it is
    one.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            milliseconds = round((time.monotonic() - started) * 1000, 3)
            told = {"method": scope["method"], "path": raw_path(scope), "status": status}
            told |= {"milliseconds": milliseconds, "requestId": _request_id(scope)}
            logger.debug("request", extra=fields(**told))


def _request_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return value.decode() if _REQUEST_ID.fullmatch(value) else None
    return None
