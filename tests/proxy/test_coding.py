"""Packed bodies: however they are cut, what comes out is what was packed, and the end is seen."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_proxy._coding import STEP_BYTES, CodingError, Decoder, decoder_for

if TYPE_CHECKING:
    from collections.abc import Callable


def _raw(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": _raw,
    "deflate, gzip": lambda body: gzip.compress(zlib.compress(body)),
    "identity": bytes,
    "": bytes,
}
PACKED = [name for name in PACK if name not in ("", "identity")]


def _unpack(decoder: Decoder, packed: bytes, size: int) -> bytes:
    return b"".join(
        piece
        for start in range(0, len(packed), size)
        for piece in decoder.feed(packed[start : start + size])
    )


@given(
    st.binary(max_size=500).map(lambda one: one * 7),
    st.sampled_from(sorted(PACK)),
    st.integers(1, 2000),
)
def test_what_was_packed_comes_out(body: bytes, coding: str, size: int) -> None:
    decoder = decoder_for(coding)
    assert _unpack(decoder, PACK[coding](body), size) == body
    assert decoder.complete


@pytest.mark.parametrize("coding", PACKED)
def test_every_cut_is_seen(coding: str) -> None:
    body = b"data: one\n\ndata: two\n\n" * 3
    packed = PACK[coding](body)
    for cut in range(1, len(packed)):
        decoder = decoder_for(coding)
        assert body.startswith(_unpack(decoder, packed[:cut], 10))
        assert not decoder.complete, cut


@pytest.mark.parametrize("coding", PACK)
def test_no_body_at_all_is_complete(coding: str) -> None:
    decoder = decoder_for(coding)
    assert list(decoder.feed(b"")) == []
    assert decoder.complete


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_gzip_may_have_several_members(size: int) -> None:
    one, two = gzip.compress(b"one"), gzip.compress(b"two")
    decoder = decoder_for("gzip")
    assert _unpack(decoder, one + b"\0\0" + two + b"\0", size) == b"onetwo"
    assert decoder.complete
    decoder = decoder_for("gzip")
    assert _unpack(decoder, one + two[:-1], size) == b"onetwo"
    assert not decoder.complete


@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", b"this is no gzip"),
        ("gzip", gzip.compress(b"x", mtime=0) + b"and more"),
        ("gzip", gzip.compress(b"x" * 100, mtime=0)[:-8] + b"\0" * 8),
        ("deflate", b"\xff\xff\xff"),
        ("deflate", zlib.compress(b"x") + b"and more"),
        ("deflate", _raw(b"x") + b"and more"),
        ("deflate", zlib.compress(b"x" * 100)[:-4] + b"\0" * 4),
    ],
)
def test_garbage(coding: str, body: bytes, size: int) -> None:
    with pytest.raises(CodingError):
        _unpack(decoder_for(coding), body, size)


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br", "gzi p", "gzip," * 4, "chunked"])
def test_a_coding_that_is_not_known(coding: str) -> None:
    with pytest.raises(CodingError):
        decoder_for(coding)


@pytest.mark.parametrize("coding", PACKED)
def test_a_bomb_comes_in_steps(coding: str) -> None:
    size = 20 * STEP_BYTES + 1
    decoder = decoder_for(coding)
    steps = [len(piece) for piece in decoder.feed(PACK[coding](bytes(size)))]
    assert max(steps) <= STEP_BYTES
    assert sum(steps) == size
    assert decoder.complete
