"""A demo on your machine is not for the pages of others."""

from __future__ import annotations

import httpx2
import pytest
from starlette.responses import PlainTextResponse

from durable_demos._own_pages import OwnPages, is_own


@pytest.mark.parametrize(
    ("host", "origin", "local", "own"),
    [
        ("127.0.0.1:5173", "http://127.0.0.1:5173", True, True),
        ("localhost:5173", "http://localhost:5173", True, True),
        ("[::1]:5173", "http://[::1]:5173", True, True),
        ("127.0.0.1:5173", None, True, True),
        ("127.0.0.1:5173", "https://evil.example", True, False),
        ("127.0.0.1:5173", "http://127.0.0.1:8000", True, False),
        ("127.0.0.1:5173", "null", True, False),
        ("rebound.example:5173", "http://rebound.example:5173", True, False),
        ("", None, True, False),
        ("192.168.1.5:5173", "http://192.168.1.5:5173", False, True),
        ("192.168.1.5:5173", "https://evil.example", False, False),
    ],
)
def test_who_may(host: str, origin: str | None, local: bool, own: bool) -> None:  # noqa: FBT001
    assert is_own(host, origin, local=local) is own


async def test_a_page_of_another_site_is_refused() -> None:
    app = OwnPages(PlainTextResponse("welcome"), local=True)
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:5173") as client:
        assert (await client.get("/")).text == "welcome"
        refused = await client.post("/api/chat", headers={"Origin": "https://evil.example"})
        assert refused.status_code == 403
        assert "open the demo at the address" in refused.text
