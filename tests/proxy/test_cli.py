"""The command: what it says, and with which code it ends."""

from __future__ import annotations

import socket
import sqlite3
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import httpx2
import pytest
from click.testing import CliRunner

from durable_proxy._cli import main
from durable_proxy._settings import SettingsError, load_settings
from proxy.command import run_command, serving
from proxy.harness import LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path


def _fails(code: int, says: str, *arguments: str) -> None:
    ended = run_command("serve", "--port", "0", *arguments)
    assert ended.returncode == code, ended.stderr
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_and_version() -> None:
    assert "--allow PATTERN" in run_command("serve", "--help").stdout
    assert "durable-proxy" in run_command("--version").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--allow", "api.openai.com"], "https://api.openai.com/**"),
        (["--allow", "https://a-*.example/**"], "one whole label"),
        (["--host", "0.0.0.0"], "--insecure"),
        (["--host", "0.0.0.0", "--secret", "short"], "at least 16 characters"),
        (["--secret", "with a space in it"], "printable ASCII"),
        (["--metrics-secret", "the-secret-of-prometheus"], "PROXY_SECRET"),
        (["--secret", "s" * 16, "--metrics-secret", "short"], "at least 16 characters"),
        (["--secret", "s" * 16, "--metrics-secret", "s" * 16], "make another one"),
        (["--url-ttl", "0"], "--url-ttl: "),
        (["--keep-days", "0"], "--keep-days: "),
        (["--public-url", "notaurl"], "begins with https://"),
        (["--public-url", "javascript:alert(1)"], "begins with https://"),
        (["--port", "99999"], "65535"),
        (["--cors-origin", "https://app.example/"], "https://app.example"),
        (["--cors-origin", "app.example"], "--cors-origin: "),
        (["--electric-url", "electric"], "http://electric:3000"),
        (["--lease", "0"], "--lease: "),
        (["--lease", "soon"], "soon"),
        (["--unknown"], "--unknown"),
    ],
)
def test_a_wrong_command_line(arguments: list[str], says: str) -> None:
    _is_refused(["serve", *arguments], says)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PROXY_LEASE", "soon", "PROXY_LEASE"),
        ("PROXY_PORT", "http", "PROXY_PORT"),
        ("PROXY_CORS_ORIGIN", "* nope", "not an origin"),
        ("PROXY_ALLOW", "https://ok/** nope", "https://api.openai.com/**"),
    ],
)
def test_a_wrong_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    _is_refused(["serve"], says)


def _is_refused(arguments: list[str], says: str) -> None:
    ended = CliRunner().invoke(main, arguments)
    assert ended.exit_code == 2
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("store", "says"),
    [
        ("mysql://localhost/x", "sqlite:///"),
        ("nonsense", "sqlite:///"),
        ("sqlite:////nowhere/at/all.sqlite", "all.sqlite"),
    ],
)
def test_a_store_that_is_none(store: str, says: str) -> None:
    _fails(1, says, "--store", store)


def test_a_file_that_is_not_ours(tmp_path: Path) -> None:
    text, other = tmp_path / "notes.txt", tmp_path / "other.sqlite"
    text.write_text("dear diary, " * 1000)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE cats (name)")
    connection.close()
    for file in (text, other):
        before = file.read_bytes()
        _fails(1, "file", "--store", f"sqlite:///{file}")
        assert file.read_bytes() == before


def test_a_store_that_electric_does_not_follow(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/proxy.sqlite"
    electric = "http://127.0.0.1:1"
    _fails(1, "takes a Postgres store", "--store", store, "--electric-url", electric)


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = str(taken.getsockname()[1])
        store = tmp_path / "proxy.sqlite"
        ended = run_command("serve", "--port", port, "--store", f"sqlite:///{store}")
        assert ended.returncode == 1
        assert port in ended.stderr
        assert "--port" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
        assert not store.exists(), "a store was touched for nothing"


@pytest.mark.anyio
async def test_a_store_in_use_and_one_that_was_left(tmp_path: Path) -> None:
    async with serving(tmp_path) as first:
        store = f"sqlite:///{tmp_path / 'proxy.sqlite'}"
        ended = run_command("serve", "--port", "0", "--store", store)
        assert ended.returncode == 1
        assert "in use" in ended.stderr
        assert "--store" in ended.stderr
        async with httpx2.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{first.url}/health")).status_code == 200
        assert await first.terminate() == 0
        assert first.stderr == ""
    async with serving(tmp_path) as second:
        assert await second.terminate() == 0


@pytest.mark.anyio
@pytest.mark.parametrize("options", [(), ("--cors-origin", "https://app.example")])
async def test_web_pages_may_use_it_where_it_says_so(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    async with serving(tmp_path, *options) as command:
        async with httpx2.AsyncClient(trust_env=False, base_url=command.url) as client:
            for path in ("/health", "/v1/stream/generations/x"):
                answer = await client.get(path, headers={"Origin": "https://app.example"})
                allowed = answer.headers.get_list("access-control-allow-origin")
                assert allowed == list(options[1:])
        assert await command.terminate() == 0


@pytest.mark.anyio
@pytest.mark.parametrize(("options", "status"), [((), 403), (("--insecure",), 404)])
async def test_without_a_secret_it_answers_what_is_for_this_machine(
    tmp_path: Path, options: tuple[str, ...], status: int
) -> None:
    """A page in a browser of this machine can make its own name lead here."""
    async with serving(tmp_path, *options) as command:
        async with httpx2.AsyncClient(trust_env=False, base_url=command.url) as client:
            for path in ("/v1/stream/x", "/v1/proxy/x", "/api/generations/x"):
                answer = await client.get(path, headers={"Host": "evil.example"})
                assert (answer.status_code == 403) is (status == 403), path
                for name in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"):
                    answer = await client.get(path, headers={name: "192.0.2.7"})
                    assert (answer.status_code == 403) is (status == 403), (path, name)
                    assert status != 403 or "PROXY_SECRET" in answer.text
            assert (await client.get("/v1/stream/x")).status_code == 404
        assert await command.terminate() == 0


@pytest.mark.anyio
async def test_beyond_this_machine_it_takes_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROXY_SECRET", "the-current-secret, the-former-secret")
    monkeypatch.setenv("PROXY_METRICS_SECRET", "the-metrics-secret the-former-metrics-secret")
    async with serving(tmp_path, "--host", "0.0.0.0") as command:
        url = f"http://{LOOPBACK}:{urlsplit(command.url).port}/v1/stream/x"
        async with httpx2.AsyncClient(trust_env=False) as client:
            assert (await client.get(url)).status_code == 401
            for secret in ("the-current-secret", "the-former-secret"):
                answer = await client.get(url, headers={"X-Proxy-Secret": secret})
                assert answer.status_code == 404
            for secret in ("the-metrics-secret", "the-former-metrics-secret"):
                bearer = {"Authorization": f"Bearer {secret}"}
                answer = await client.get(urljoin(url, "/metrics"), headers=bearer)
                assert answer.status_code == 200
                assert (await client.get(url, headers=bearer)).status_code == 403
        assert await command.terminate() == 0
        assert "secret" not in command.stderr


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "--allow 'https://api.openai.com/**'"),
        (("--allow", "https://api.example/**"), None),
        (("--allow-any-upstream",), None),
    ],
)
async def test_it_says_how_to_allow_an_upstream(
    tmp_path: Path, options: tuple[str, ...], says: str | None
) -> None:
    async with serving(tmp_path, *options, allow=()) as command:
        assert await command.terminate() == 0
        assert says in command.stderr if says else command.stderr == ""


class TestSettings:
    """The command line goes before the environment, and the environment before the defaults."""

    def test_defaults(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("PROXY_PORT", "PORT", "PROXY_URL", "DATABASE_URL", "PROXY_ALLOW"):
            monkeypatch.delenv(name, raising=False)
        settings = load_settings(port=None, allow=())
        assert (settings.host, settings.port, settings.allow) == ("127.0.0.1", 4000, ())
        assert (settings.lease, settings.public_url) == (10.0, None)

    def test_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PORT", "5000")
        assert load_settings().port == 5000
        monkeypatch.setenv("PROXY_PORT", "5001")
        monkeypatch.setenv("DATABASE_URL", "sqlite:///x")
        monkeypatch.setenv("PROXY_URL", "https://ai.example")
        monkeypatch.setenv("PROXY_ALLOW", "https://a/**, https://b/**\nhttps://c/**")
        monkeypatch.setenv("PROXY_CORS_ORIGIN", "http://localhost:3000,https://[::1]")
        settings = load_settings()
        assert settings.port == 5001
        assert settings.store == "sqlite:///x"
        assert settings.public_url == "https://ai.example"
        assert settings.allow == ("https://a/**", "https://b/**", "https://c/**")
        assert settings.cors_origins == ("http://localhost:3000", "https://[::1]")

    def test_command_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PROXY_PORT", "5001")
        monkeypatch.setenv("PROXY_ALLOW", "https://a/**")
        settings = load_settings(port=0, allow=("https://b/**",), drain=0.0)
        assert (settings.port, settings.allow, settings.drain) == (0, ("https://b/**",), 0.0)

    def test_errors(self) -> None:
        with pytest.raises(SettingsError, match="lease"):
            load_settings(lease=0.0)
