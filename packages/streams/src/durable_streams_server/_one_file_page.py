"""A page in one file, that is served as it is.

The page may run the script and the style that are in the file, and nothing else: whatever it
shows cannot become code.
"""

import re
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Self


@dataclass(frozen=True, slots=True)
class OneFilePage:
    """A page and what goes with it.

    Attributes:
        body: The file.
        policy: Its content security policy.
    """

    body: bytes
    policy: str

    @classmethod
    def load(cls, package: str, name: str) -> Self:
        """Read the page of a package; it has one ``<script>`` and one ``<style>``."""
        body = files(package).joinpath(name).read_bytes()
        return cls(body, _policy(body))

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the page is sent with."""
        return {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": self.policy,
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }


def _policy(body: bytes) -> str:
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hash_of('script', body)}",
            f"style-src {_hash_of('style', body)}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def _hash_of(tag: str, body: bytes) -> str:
    """The source of the one element of a kind, as a content security policy names it."""
    (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), body, re.DOTALL)
    return f"'sha256-{b64encode(sha256(text).digest()).decode()}'"
