"""What can go wrong.

    TanStackError
    ├── ChunkError (also a ValueError)      what was sent, or is to be sent, is no chunk
    └── ChatRefused                         the chat's address answered, but not with chunks

What happens to the connection and to the generation behind it is told by the errors of
`durable_transport`.
"""


class TanStackError(Exception):
    """Base of this package's errors."""


class ChunkError(TanStackError, ValueError):
    """What was sent, or is to be sent, is no chunk."""


class ChatRefused(TanStackError):  # noqa: N818  (as the errors of durable_transport)
    """The chat's address answered, but not with chunks.

    Attributes:
        status: The HTTP status.
        content_type: What came instead, None when nothing said so.
        body: The beginning of it.
    """

    def __init__(self, status: int, content_type: str | None, body: str) -> None:
        super().__init__(status, content_type, body)
        self.status = status
        self.content_type = content_type
        self.body = body

    def __str__(self) -> str:
        if self.status < 400:  # noqa: PLR2004
            return (
                f"the chat's address answered {self.content_type or 'something'} instead of "
                "text/event-stream: is it the address of the backend?"
            )
        return f"the chat's address answered {self.status}: {self.body:.200}"
