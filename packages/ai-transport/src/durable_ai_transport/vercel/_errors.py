# ruff: noqa: N818  (outcomes, named like those of durable_transport)
"""What can go wrong with a UI message stream, as a map. Pure.

    UIMessageStreamError
    ├── the other side
    │   ├── BackendUnreachable     the chat endpoint cannot be reached
    │   ├── RequestRefused         the chat endpoint said no: status, text
    │   ├── NotAUIMessageStream    the answer is something else, such as a page of HTML
    │   ├── InvalidChunk           a chunk is no JSON, or is not what its type says
    │   ├── ChunkOutOfOrder        a chunk continues what has not begun
    │   └── ResponseTruncated      the answer ended without saying so
    └── ResponseFailed             the answer says itself that it failed: error_text

Errors of the way, such as a proxy that is not there or a generation that was stopped, are those of
``durable_transport``.
"""

SHOWN = 200
"""Characters of somebody else's data that an error shows."""


class UIMessageStreamError(Exception):
    """Base of the errors of this package's Vercel half."""


class BackendUnreachable(UIMessageStreamError):
    """Nothing answers where the chat endpoint should be.

    Attributes:
        url: What was asked.
        reason: What happened, in the words of the HTTP client.
    """

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(url, reason)

    def __str__(self) -> str:
        return f"{self.url} cannot be reached: {self.reason or 'no more is known'}. Does it run?"


class RequestRefused(UIMessageStreamError):
    """The chat endpoint answered with an error.

    Attributes:
        status: Of HTTP.
        text: The answer's body.
        url: What was asked.
    """

    def __init__(self, url: str, status: int, text: str = "") -> None:
        self.url = url
        self.status = status
        self.text = text
        super().__init__(url, status)

    def __str__(self) -> str:
        return f"{self.url} answered {self.status}: {shown(self.text) or 'without a body'}"


class NotAUIMessageStream(UIMessageStreamError):
    """What answered does not speak the UI message stream.

    Attributes:
        url: What was asked.
        status: Of HTTP.
        content_type: Of the answer.
        text: How its body begins.
    """

    def __init__(self, url: str, status: int, content_type: str | None, text: str = "") -> None:
        self.url = url
        self.status = status
        self.content_type = content_type
        self.text = text
        super().__init__(url, status, content_type)

    def __str__(self) -> str:
        what = self.content_type or "no content type"
        return (
            f"{self.url} answered {self.status} with {what}, which is no UI message stream: "
            f"{shown(self.text)!r}. Check that the address is the chat endpoint's, and that it "
            f"answers with text/event-stream, or with the Location of a stream"
        )


class InvalidChunk(UIMessageStreamError, ValueError):
    """A chunk is no JSON, or not what its type says.

    Attributes:
        reason: What is wrong.
        data: The chunk, as far as it is shown.
    """

    def __init__(self, reason: str, data: str = "") -> None:
        self.reason = reason
        self.data = shown(data)
        super().__init__(reason, self.data)

    def __str__(self) -> str:
        return (
            f"not a chunk of a UI message stream: {self.reason}, in {self.data!r}. "
            f"Check what the backend sends: each chunk is one JSON object with a type"
        )


class ChunkOutOfOrder(UIMessageStreamError):
    """A chunk continues or answers what has not begun.

    Attributes:
        chunk_type: Its type.
        chunk_id: Of the part, the tool call or the approval that is missing.
        needed: The type of the chunk that had to come before.
    """

    def __init__(self, chunk_type: str, chunk_id: str, needed: str) -> None:
        self.chunk_type = chunk_type
        self.chunk_id = chunk_id
        self.needed = needed
        super().__init__(chunk_type, chunk_id)

    def __str__(self) -> str:
        return (
            f"{self.chunk_type} for {self.chunk_id!r}, which has not begun: the backend has to "
            f"send {self.needed} with this id first, and a reader has to begin at the beginning, "
            f"or with the message as it was"
        )


class ResponseTruncated(UIMessageStreamError):
    """The answer ended without ``[DONE]``, and without a chunk that ends it."""

    def __str__(self) -> str:
        return (
            "the answer broke off: it has no finish, abort or error chunk and no [DONE]. "
            "What came before is there; send the message again, or reconnect"
        )


class ResponseFailed(UIMessageStreamError):
    """The answer has an error chunk: the backend could not complete it.

    Attributes:
        error_text: In the backend's words.
    """

    def __init__(self, error_text: str) -> None:
        self.error_text = error_text
        super().__init__(error_text)

    def __str__(self) -> str:
        return self.error_text or "the answer failed"


def shown(text: str) -> str:
    """The beginning of a text of unknown length."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
