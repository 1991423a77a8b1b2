"""What a caller can see of a generation while reading it."""

from dataclasses import dataclass


@dataclass(slots=True)
class Progress:
    """``response.extensions["durable"]``: live, and exact at every moment.

    Attributes:
        session_id: As the caller wrote it, or the UUID that was made up.
        request_id: Likewise.
        offset: Bytes of the body handed out, counted from the generation's start.
        resume_offset: Where a later reader would take over: the consumer is done with every byte
            before, and a new parser can begin there.
        completed: The generation has ended well and its whole body was handed out.
    """

    session_id: str
    request_id: str
    offset: int = 0
    resume_offset: int = 0
    completed: bool = False
