"""Addresses that may not be called, however they are spelled, and whoever spells them."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import trustme

from durable_proxy import Limits
from durable_proxy._allowlist import Allowlist
from durable_proxy._answers import Accepted, Answer
from durable_proxy._errors import Refusal, RefusedError
from durable_proxy._start_request import parse_head
from durable_transport.protocol import ErrorCode, TerminalCode
from proxy.harness import UNIT, data, generations, start_request, terminal
from proxy.wire import LOOPBACK, upstream, whole
from streams.test_addresses import NOT_PUBLIC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable_streams_server import Log

HELLO = whole(200, b"hello")

# ---------------------------------------------------------------------- URLs

WILDCARDS = ["http://*.example/**", "https://*.example/**", "http://*/**", "http://*.*.*.*/**"]

ATTACKS = [
    # in numbers, as resolvers and browsers read them
    *("http://127.0.0.1/", "http://127.1/", "http://127.0.1/", "http://2130706433/"),
    *(
        "http://0x7f000001/",
        "http://0x7f.0x0.0x0.0x1/",
        "http://0177.0.0.1/",
        "http://017700000001/",
    ),
    *("http://0x7f.1/", "http://0177.1/", "http://127.0.0.1./", "http://127.0.0.1.:80/"),
    *("http://0/", "http://0.0.0.0/", "http://00000/", "http://0x0/", "http://4294967295/"),
    *("http://10.0.0.1/", "http://167772161/", "http://0xa.0.0.1/", "http://012.0.0.1/"),
    *("http://192.168.0.1/", "http://3232235521/", "http://172.16.0.1/", "http://100.64.0.1/"),
    *("http://224.0.0.1/", "http://255.255.255.255/", "http://256.256.256.256/"),
    # metadata
    *("http://169.254.169.254/latest/meta-data/", "http://2852039166/", "http://0xa9fea9fe/"),
    *("http://0251.0376.0251.0376/", "http://0xa9.0xfe.0xa9.0xfe/", "http://169.254.43518/"),
    *("http://169.16689662/", "http://425.510.425.510/", "http://169.254.169.254./"),
    *("http://100.100.100.200/", "http://168.63.129.16/", "http://[fd00:ec2::254]/"),
    # IPv6
    *("http://[::1]/", "http://[::]/", "http://[0:0:0:0:0:0:0:1]/", "http://[::ffff:127.0.0.1]/"),
    *(
        "http://[::ffff:7f00:1]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[0:0:0:0:0:ffff:127.0.0.1]/",
    ),
    *("http://[64:ff9b::127.0.0.1]/", "http://[64:ff9b::a9fe:a9fe]/", "http://[64:ff9b:1::1]/"),
    *("http://[2002:7f00:1::]/", "http://[2001:0:a9fe:a9fe::]/", "http://[::127.0.0.1]/"),
    *(
        "http://[fe80::1]/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[::1%lo]/",
    ),
    *(
        "http://[fc00::1]/",
        "http://[ff02::1]/",
        "http://[::1",
        "http://::1/",
        "http://[127.0.0.1]/",
    ),
    # users and confusion about where the host ends
    *("http://a.example@127.0.0.1/", "http://a.example:80@127.0.0.1/", "http://a@b@127.0.0.1/"),
    *(
        "http://127.0.0.1\\@a.example/",
        "http://a.example\\@127.0.0.1/",
        "http://127.0.0.1#@a.example/",
    ),
    *("http://127.0.0.1?@a.example/", "http://127.0.0.1;a.example/", "http://a.example%00.evil/"),
    *("http://a.example%2f@127.0.0.1/", "http://127.0.0.1%2f.example/", "http://%31%32%37.0.0.1/"),
    *(
        "http://127。0。0。1/",
        "http://①②⑦.⓪.⓪.①/",
        "http://a.example\t/",
        "http://a.example\r\nX: y/",
    ),
    *("http:///127.0.0.1/", "http:/127.0.0.1/", "http:127.0.0.1", "//127.0.0.1/", "127.0.0.1"),
    *("file:///etc/passwd", "gopher://127.0.0.1:6379/_x", "ftp://a.example/", "unix:/run/x.sock"),
    *(
        "http://a.example:0/",
        "http://a.example:65536/",
        "http://a.example:80:80/",
        "http://a.example:-1/",
    ),
    *("http://.example/", "http://a..example/", "http://*.example/", "http://a.b.example/"),
]
"""None of these gets as far as a name server, whatever the wildcards allow."""


@pytest.mark.parametrize("url", ATTACKS)
def test_an_attack_url_is_refused_before_anything_is_resolved(url: str) -> None:
    headers = [(b"x-proxy-url", url.encode())]
    with pytest.raises(RefusedError) as refused:
        parse_head(
            str(uuid4()),
            str(uuid4()),
            headers,
            allowlist=Allowlist.parse(WILDCARDS),
            limits=Limits(),
        )
    refusal = refused.value.refusal
    assert refusal.code in (
        ErrorCode.INVALID_PROXY_URL,
        ErrorCode.UPSTREAM_NOT_ALLOWED,
        ErrorCode.BAD_REQUEST,
    )
    if refusal.code is ErrorCode.UPSTREAM_NOT_ALLOWED:
        assert "--allow" in refusal.message


def test_there_are_enough_of_them() -> None:
    assert len(set(ATTACKS)) == len(ATTACKS) >= 60


# ---------------------------------------------------------------------- resolving


class Names:
    """A name server whose answers are told one after the other; the last is repeated."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, _port: int) -> Sequence[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


async def ask(log: Log, names: Names, allow: str, port: int, host: str = "a.example") -> Answer:
    request = start_request(f"http://{host}:{port}/", allow=allow)
    async with asyncio.timeout(10 * UNIT), generations(log, resolve=names) as running:
        answer = await running.start(request)
        if isinstance(answer, Refusal):
            code = (await terminal(log, request.paths)).payload["code"]
            assert code == TerminalCode.UPSTREAM_NOT_ALLOWED
        return answer


@pytest.mark.anyio
@pytest.mark.parametrize("address", NOT_PUBLIC)
async def test_a_name_behind_a_wildcard_leads_only_to_the_internet(log: Log, address: str) -> None:
    names = Names([address])
    async with upstream(HELLO) as up:
        answer = await ask(log, names, "http://*.example:*/**", up.port)
        assert isinstance(answer, Refusal)
        assert (answer.code, answer.status) == (ErrorCode.UPSTREAM_NOT_ALLOWED, 403)
        assert f"--allow 'http://a.example:{up.port}/**'" in answer.message
        assert NOT_PUBLIC[address] in answer.message
        assert names.asked == ["a.example"]
        assert up.connections == 0


@pytest.mark.anyio
@pytest.mark.parametrize("addresses", [["1.1.1.1", LOOPBACK], [LOOPBACK, "1.1.1.1"]])
async def test_one_address_that_may_not_be_called_is_enough(log: Log, addresses: list[str]) -> None:
    async with upstream(HELLO) as up:
        answer = await ask(log, Names(addresses), "http://*.example:*/**", up.port)
        assert isinstance(answer, Refusal)
        assert up.connections == 0


@pytest.mark.anyio
async def test_a_name_is_resolved_once_and_called_where_it_was_checked(log: Log) -> None:
    # Whoever asked again would be led to an address where nobody listens.
    names = Names([LOOPBACK], ["127.0.0.9"])
    async with upstream(HELLO) as up, generations(log, resolve=names) as running:
        request = start_request(f"http://a.example:{up.port}/x", allow="http://a.example:*/**")
        assert isinstance(await running.start(request), Accepted)
        assert await data(log, request.paths) == b"hello"
        assert names.asked == ["a.example"]
        assert up.calls[0].values("host") == [f"a.example:{up.port}"]


@pytest.mark.anyio
async def test_a_connection_that_a_named_host_made_is_not_lent_to_a_wildcard(log: Log) -> None:
    names = Names([LOOPBACK])
    async with upstream(HELLO) as up, generations(log, resolve=names) as running:
        url = f"http://a.example:{up.port}/"
        named = start_request(url, allow="http://a.example:*/**")
        assert isinstance(await running.start(named), Accepted)
        await data(log, named.paths)
        answer = await running.start(start_request(url, allow="http://*.example:*/**"))
        assert isinstance(answer, Refusal)
        assert (len(up.calls), up.connections) == (1, 1)


@pytest.mark.anyio
@pytest.mark.parametrize("addresses", [["::1", LOOPBACK], ["127.0.0.9", "::1", LOOPBACK]])
async def test_the_next_address_is_tried(log: Log, addresses: list[str]) -> None:
    async with upstream(HELLO) as up:
        answer = await ask(log, Names(addresses), "http://a.example:*/**", up.port)
        assert isinstance(answer, Accepted)


@pytest.mark.anyio
@pytest.mark.parametrize("addresses", [[], ["127.0.0.9"], ["::1", "127.0.0.9"]])
async def test_no_address_that_answers(log: Log, addresses: list[str]) -> None:
    async with upstream(HELLO) as up:
        request = start_request(f"http://a.example:{up.port}/", allow="http://a.example:*/**")
        async with generations(log, resolve=Names(addresses)) as running:
            answer = await running.start(request)
        assert isinstance(answer, Refusal)
        assert answer.code is ErrorCode.UPSTREAM_UNREACHABLE


def test_any_upstream_means_any_address() -> None:
    head = parse_head(
        str(uuid4()),
        str(uuid4()),
        [(b"x-proxy-url", b"http://10.0.0.1/")],
        allowlist=Allowlist.parse([], any_upstream=True),
        limits=Limits(),
    )
    assert head.any_address


# ---------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_tls(authority: trustme.CA, name: str, asked: list[str | None]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    context.sni_callback = lambda _socket, given, _context: asked.append(given)
    return context


def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.mark.anyio
async def test_a_certificate_is_about_the_name_and_not_the_address(
    log: Log, authority: trustme.CA
) -> None:
    asked: list[str | None] = []
    tls = server_tls(authority, "a.example", asked)
    names = Names([LOOPBACK])
    async with (
        upstream(HELLO, tls) as up,
        generations(log, resolve=names, tls=client_tls(authority)) as running,
    ):
        for _ in range(2):
            url = f"https://a.example:{up.port}/"
            request = start_request(url, allow="https://a.example:*/**")
            assert isinstance(await running.start(request), Accepted)
            assert await data(log, request.paths) == b"hello"
        assert asked == ["a.example"]
        assert (len(up.calls), up.connections) == (2, 1)


@pytest.mark.anyio
@pytest.mark.parametrize("trusted", [True, False])
async def test_a_certificate_that_is_not_trusted(
    log: Log, authority: trustme.CA, *, trusted: bool
) -> None:
    tls = server_tls(authority, "b.example" if trusted else "a.example", [])
    options: dict[str, Any] = {"tls": client_tls(authority)} if trusted else {}
    async with (
        upstream(HELLO, tls) as up,
        generations(log, resolve=Names([LOOPBACK]), **options) as running,
    ):
        url = f"https://a.example:{up.port}/"
        answer = await running.start(start_request(url, allow="https://a.example:*/**"))
        assert isinstance(answer, Refusal)
        assert answer.code is ErrorCode.UPSTREAM_UNREACHABLE
        assert "certificate" in answer.message
        assert up.calls == []
