"""What can go wrong with an answer that is written into a stream."""

from durable_transport import DurableTransportError, StreamError


class AnswerInterrupted(DurableTransportError):  # noqa: N818  (an outcome, like GenerationAborted)
    """The process that was writing an answer had to end before the answer did.

    Attributes:
        why: In words that readers may see.
    """

    def __init__(self, why: str = "The server was stopped before the answer was complete.") -> None:
        self.why = why
        super().__init__(why)

    def __str__(self) -> str:
        return self.why


def public_text(failure: Exception) -> str:
    """What readers are told about a failure: never the text of an exception of somebody else's."""
    match failure:
        case AnswerInterrupted():
            return failure.why
        case StreamError():
            return "The answer could not be stored completely."
        case _:
            return "An error occurred."
