"""What the package promises to those who import it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import durable_transport
import durable_transport.httpx
from durable_transport import MemoryStorage
from streams.serving import served
from transport.scripted import ScriptedProxy, serving

ROOT = Path(__file__).parents[2]
README = ROOT / "packages/transport/README.md"


def test_all_is_what_is_there() -> None:
    for name in durable_transport.__all__:
        getattr(durable_transport, name)  # what needs an HTTP client is loaded by this
    public = {
        name
        for name, value in vars(durable_transport).items()
        if not name.startswith("_")
        and getattr(value, "__module__", "").startswith("durable_transport")
        and not isinstance(value, type(durable_transport))
    }
    assert public == set(durable_transport.__all__)
    assert sorted(durable_transport.__all__) == durable_transport.__all__
    for name in durable_transport.__all__:
        assert getattr(durable_transport, name).__doc__


def test_the_protocol_is_there_without_an_http_client() -> None:
    code = "import sys, durable_transport.protocol; print('httpx2' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout == "False\n"


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        durable_transport.nothing  # noqa: B018


def test_both_flavours_have_the_same_names() -> None:
    assert durable_transport.httpx.__all__ == ["AsyncDurableTransport", "DurableTransport"]
    for name in durable_transport.httpx.__all__:
        one, other = getattr(durable_transport, name), getattr(durable_transport.httpx, name)
        assert one is not other
        assert one.__doc__ == other.__doc__


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_without_httpx_the_error_names_the_extra() -> None:
    hidden = "import sys; sys.modules['httpx'] = None; import durable_transport.httpx"
    result = _run(hidden)
    assert result.returncode == 1
    assert "pip install durable-transport[httpx]" in result.stderr


def test_httpx2_alone_is_enough() -> None:
    result = _run("import sys; sys.modules['httpx'] = None; import durable_transport")
    assert result.returncode == 0, result.stderr


def test_the_generated_shells_are_up_to_date() -> None:
    script = ROOT / "scripts/generate_shells.py"
    result = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def test_the_readmes_example_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(# example\.py\n.*?)```", README.read_text(), re.DOTALL)
    assert len(example.splitlines()) <= 14
    events = [
        '{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
        f'[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}'
        for text in ("Hello ", "world")
    ]
    body = "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode()
    proxy = ScriptedProxy(body=body, content_type="text/event-stream", piece=50)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.chdir(tmp_path)
    with serving(proxy):
        exec(example.replace("http://localhost:4000", proxy.url), {})
    assert "Hello world" in capsys.readouterr().out
    assert proxy.requests[0].headers["x-proxy-url"].startswith("https://api.openai.com/")


async def test_the_readmes_stream_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(# stream\.py\n.*?)```", README.read_text(), re.DOTALL)
    assert len(example.splitlines()) <= 16
    async with served() as server:
        url = f"http://127.0.0.1:{server.port}"
        code = example.replace("http://localhost:3001", url).replace("asyncio.run(main())", "")
        names: dict[str, Any] = {}
        exec(code, names)
        await names["main"]()
    assert capsys.readouterr().out.split() == ["Hello", "Bye"]


def test_no_secret_is_stored() -> None:
    import httpx2

    storage = MemoryStorage()
    with serving(ScriptedProxy(body=b"x", terminal=None)) as proxy:
        transport = durable_transport.DurableTransport(
            proxy.url, storage=storage, headers={"X-Proxy-Authorization": "hush-1"}
        )
        headers = {"Authorization": "hush-2", **durable_transport.session("s")}
        with (
            httpx2.Client(transport=transport) as client,
            client.stream("POST", "http://u/?key=hush-3", content=b"hush-4", headers=headers),
        ):
            stored = b"".join(storage._entries.values())
    assert stored
    assert b"hush" not in stored
