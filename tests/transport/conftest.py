from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from transport.flavours import FLAVOURS, Flavour
from transport.scripted import ScriptedProxy, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = bytes(range(256)) * 2


@pytest.fixture
def proxy() -> Iterator[ScriptedProxy]:
    """A well-behaved proxy with a finished generation of binary data."""
    with serving(ScriptedProxy(body=BODY)) as running:
        yield running


@pytest.fixture(params=FLAVOURS, ids=str)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    """Each of the four transports."""
    chosen = request.param
    assert isinstance(chosen, Flavour)
    return chosen
