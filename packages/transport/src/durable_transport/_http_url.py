"""What every URL that a user gives us has to be. Pure."""

from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit, urlunsplit


def split_http_url(url: str, invalid: Callable[[str, str], Exception]) -> SplitResult:
    """The parts of an absolute http(s) URL that names a host and carries no credentials.

    Args:
        url: As it was given.
        invalid: Makes the error of a URL and of what is wrong with it.

    Raises:
        Exception: what ``invalid`` made.
    """
    try:
        parts = urlsplit(url.strip())
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError as error:
        raise invalid(url, str(error)) from None
    if parts.scheme not in ("http", "https"):
        raise invalid(url, "it does not begin with http:// or https://")
    if not parts.hostname or not port_is_valid:
        raise invalid(url, "it names no host")
    if parts.username is not None or parts.password is not None:
        # Not quoted back: the message may end up in a log.
        bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        raise invalid(bare, "it carries credentials, which belong into headers=")
    return parts
