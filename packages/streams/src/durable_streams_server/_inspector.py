"""The inspector: one page, in one file."""

from durable_streams_server._answer import Answer
from durable_streams_server._one_file_page import OneFilePage

PAGE = OneFilePage.load("durable_streams_server", "_inspector.html")


def page() -> Answer:
    """The page."""
    answer = Answer(200, body=PAGE.body)
    for name, value in PAGE.headers.items():
        answer.add(name, value)
    return answer
