"""Which IP addresses are on the public internet: for whoever calls what others name. Pure.

The ranges are those of IANA's registries of special-purpose addresses, written out here: what the
standard library calls private differs between versions of Python. An address that carries another
one in itself (IPv4-mapped, NAT64) is what it carries. IPv6 is judged from the other side: nothing
but the global unicast range is public, and in that not the tunnels that lead to any IPv4 address
(6to4, Teredo).
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

__all__ = ["why_not_public"]

_METADATA = "the metadata service of a cloud"
_PRIVATE = "a private network"
_LOOPBACK = "this machine"
_RESERVED = "reserved"
_DOCUMENTATION = "meant for documentation"
_TUNNEL = "a tunnel to another address"

_IPV4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("169.254.169.254/32", _METADATA),  # most clouds
        ("169.254.170.2/32", _METADATA),  # credentials of AWS tasks
        ("100.100.100.200/32", _METADATA),  # Alibaba
        ("192.0.0.192/32", _METADATA),  # Oracle
        ("168.63.129.16/32", _METADATA),  # Azure; in a public range
        ("0.0.0.0/8", _LOOPBACK),
        ("127.0.0.0/8", _LOOPBACK),
        ("10.0.0.0/8", _PRIVATE),
        ("172.16.0.0/12", _PRIVATE),
        ("192.168.0.0/16", _PRIVATE),
        ("100.64.0.0/10", "shared by a carrier's customers"),
        ("169.254.0.0/16", "link-local"),
        ("192.0.0.0/24", _RESERVED),
        ("192.88.99.0/24", _TUNNEL),
        ("198.18.0.0/15", "meant for benchmarks"),
        ("192.0.2.0/24", _DOCUMENTATION),
        ("198.51.100.0/24", _DOCUMENTATION),
        ("203.0.113.0/24", _DOCUMENTATION),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", _RESERVED),
    )
)
_IPV6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("::/127", _LOOPBACK),  # unspecified and loopback
        ("fd00:ec2::254/128", _METADATA),  # AWS
        ("fd20:ce::254/128", _METADATA),  # Google
        ("fc00::/7", _PRIVATE),
        ("fe80::/10", "link-local"),
        ("fec0::/10", _PRIVATE),
        ("ff00::/8", "multicast"),
        ("2001::/32", _TUNNEL),  # Teredo
        ("2001::/23", _RESERVED),
        ("2001:db8::/32", _DOCUMENTATION),
        ("2002::/16", _TUNNEL),  # 6to4
        ("3fff::/20", _DOCUMENTATION),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_IPV4_BITS = 0xFFFFFFFF


def why_not_public(text: str) -> str | None:
    """What an address is instead of public; None when it is public.

    Args:
        text: An address as resolvers write it; an IPv6 address may have a zone.

    Raises:
        ValueError: it is none.
    """
    address = ip_address(text)
    if isinstance(address, IPv4Address):
        return _kind_of_ipv4(address)
    carried = _carried_by(address)
    return _kind_of_ipv6(address) if carried is None else _kind_of_ipv4(carried)


def _carried_by(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & _IPV4_BITS)
    return address.ipv4_mapped


def _kind_of_ipv4(address: IPv4Address) -> str | None:
    return next((kind for network, kind in _IPV4 if address in network), None)


def _kind_of_ipv6(address: IPv6Address) -> str | None:
    # Without its zone: with one it is in no network.
    bare = IPv6Address(int(address))
    kind = next((kind for network, kind in _IPV6 if bare in network), None)
    return kind or (None if bare in _GLOBAL_UNICAST else _RESERVED)
