"""The inspector: a page that shows the generations that run, one of them in detail, and stops it.

It holds nothing of anybody's, so it is served to everybody. What it shows it has to ask for, with
the secret that whoever looks at it types in.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from durable_proxy._refusing import ALWAYS
from durable_streams_server.observing import OneFilePage

PATH = "/_inspector"
PAGE = OneFilePage.load("durable_proxy", "_inspector.html")


def inspector_route() -> Route:
    """The route of the page."""
    return Route(PATH, _page, name="inspector", include_in_schema=False)


async def _page(_request: Request) -> Response:
    return Response(PAGE.body, headers=ALWAYS | PAGE.headers)
