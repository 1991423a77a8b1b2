"""Which addresses are public, in every spelling."""

from __future__ import annotations

import pytest

from durable_streams_server.addresses import why_not_public

PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"),
    *("126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255"),
    *("172.32.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0"),
    *("223.255.255.255", "2606:4700::1111", "2a00:1450:4001::200e", "2001:4860:4860::8888"),
    *("::ffff:8.8.8.8", "64:ff9b::808:808"),
]

NOT_PUBLIC = {
    "127.0.0.1": "this machine",
    "127.255.255.254": "this machine",
    "0.0.0.0": "this machine",
    "0.1.2.3": "this machine",
    "10.0.0.1": "a private network",
    "10.255.255.255": "a private network",
    "172.16.0.1": "a private network",
    "172.31.255.255": "a private network",
    "192.168.0.1": "a private network",
    "100.64.0.1": "shared by a carrier's customers",
    "100.127.255.255": "shared by a carrier's customers",
    "100.100.100.200": "the metadata service of a cloud",
    "169.254.169.254": "the metadata service of a cloud",
    "169.254.170.2": "the metadata service of a cloud",
    "168.63.129.16": "the metadata service of a cloud",
    "192.0.0.192": "the metadata service of a cloud",
    "169.254.0.1": "link-local",
    "192.0.0.1": "reserved",
    "192.0.2.1": "meant for documentation",
    "198.51.100.1": "meant for documentation",
    "203.0.113.1": "meant for documentation",
    "198.18.0.1": "meant for benchmarks",
    "198.19.255.255": "meant for benchmarks",
    "192.88.99.1": "a tunnel to another address",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "::": "this machine",
    "::1": "this machine",
    "::127.0.0.1": "reserved",
    "::ffff:127.0.0.1": "this machine",
    "::ffff:7f00:1": "this machine",
    "::ffff:10.0.0.1": "a private network",
    "::ffff:169.254.169.254": "the metadata service of a cloud",
    "::ffff:a9fe:a9fe": "the metadata service of a cloud",
    "::ffff:0:127.0.0.1": "reserved",
    "64:ff9b::127.0.0.1": "this machine",
    "64:ff9b::10.0.0.1": "a private network",
    "64:ff9b::a9fe:a9fe": "the metadata service of a cloud",
    "64:ff9b:1::a00:1": "reserved",
    "2002:7f00:1::": "a tunnel to another address",
    "2002:a00:1::1": "a tunnel to another address",
    "2002:808:808::1": "a tunnel to another address",
    "2001::1": "a tunnel to another address",
    "2001:0:a9fe:a9fe::1": "a tunnel to another address",
    "2001:10::1": "reserved",
    "2001:20::1": "reserved",
    "2001:db8::1": "meant for documentation",
    "3fff::1": "meant for documentation",
    "fc00::1": "a private network",
    "fd00::1": "a private network",
    "fd00:ec2::254": "the metadata service of a cloud",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "fe80::1%25": "link-local",
    "::1%lo": "this machine",
    "fec0::1": "a private network",
    "ff02::1": "multicast",
    "100::1": "reserved",
    "5f00::1": "reserved",
    "4000::1": "reserved",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert why_not_public(address) is None


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_not_public(address: str) -> None:
    assert why_not_public(address) == NOT_PUBLIC[address]


@pytest.mark.parametrize("text", ["", "localhost", "2130706433", "0x7f.1", "127.1", "010.0.0.1"])
def test_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        why_not_public(text)
