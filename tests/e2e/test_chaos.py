"""Every connection between client and proxy is cut, again and again, and nobody notices.

``DURABLE_E2E_SEEDS=1000`` tries that many seeds; a failure names its seed.
"""

import os

import anyio
import pytest

from e2e import drivers
from e2e.drivers import TIMEOUT, Driver
from e2e.relay import chaos, relaying
from e2e.stage import TOOL, Stage, tokens

pytestmark = pytest.mark.anyio

SEEDS = range(int(os.environ.get("DURABLE_E2E_SEEDS", "3")))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("driver", drivers.STREAMING, ids=str)
async def test_cut_connections_are_invisible(stage: Stage, driver: Driver, seed: int) -> None:
    stage.script(tokens=tokens(80), tool_calls=(TOOL,))
    expected = await stage.expected(driver)
    stage.script(tokens=tokens(80), tool_calls=(TOOL,), pace=0.002, split=120, split_seed=seed)
    with relaying(_port(stage.proxy_url), chaos(seed)) as relay, anyio.fail_after(TIMEOUT):
        events = await driver.collect(stage.durable(relay.url), stage.script_id)
    assert events == expected, f"seed {seed}, {relay.cuts} cuts"
    assert stage.calls() == 1, f"seed {seed}, {relay.cuts} cuts"
    assert relay.cuts >= 5, f"seed {seed}: hardly any chaos"


@pytest.mark.parametrize("driver", drivers.STREAMING, ids=str)
async def test_a_long_outage_is_bridged(stage: Stage, driver: Driver) -> None:
    """All connections go at once while the answer waits; what follows arrives all the same."""
    stage.script(tokens=tokens(30))
    expected = await stage.expected(driver)
    stage.script(tokens=tokens(30), hold_after=15)
    events: list[drivers.Event] = []
    half = anyio.Event()
    with relaying(_port(stage.proxy_url)) as relay, anyio.fail_after(TIMEOUT):
        async with anyio.create_task_group() as group:
            sink = drivers.notifying(driver, events, 8, half)
            group.start_soon(driver.stream, stage.durable(relay.url), stage.script_id, sink)
            await half.wait()
            await anyio.to_thread.run_sync(relay.cut_all)
            stage.upstream.release(stage.script_id)
    assert events == expected
    assert relay.cuts >= 1
    assert stage.calls() == 1


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])
