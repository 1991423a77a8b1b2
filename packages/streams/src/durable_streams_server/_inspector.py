"""The inspector: one page, in one file, that is served as it is.

The page may run the script and the style that are in the file, and nothing else: whatever a stream
holds, and whatever its name, cannot become code.
"""

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from durable_streams_server._answer import Answer

_PAGE = files("durable_streams_server").joinpath("_inspector.html").read_bytes()


def _hash_of(tag: str) -> str:
    """The source of the one element of a kind, as a content security policy names it."""
    (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), _PAGE, re.DOTALL)
    return f"'sha256-{b64encode(sha256(text).digest()).decode()}'"


POLICY = "; ".join(
    [
        "default-src 'none'",
        f"script-src {_hash_of('script')}",
        f"style-src {_hash_of('style')}",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)


def page() -> Answer:
    """The page."""
    answer = Answer(200, body=_PAGE)
    answer.add("Content-Type", "text/html; charset=utf-8")
    answer.add("Content-Security-Policy", POLICY)
    answer.add("Referrer-Policy", "no-referrer")
    answer.add("Cache-Control", "no-cache")
    return answer
