"""Tokens that let a worker speak about one wake."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams_server._tokens import (
    TOKEN_SECONDS,
    Grant,
    TokenError,
    TokenExpiredError,
    make_token,
    read_token,
)
from streams.builders import NOW

SECRET = b"s" * 32
GRANT = Grant("incarnation", 7)
TOKEN = make_token(SECRET, GRANT, NOW)


def test_what_was_granted_is_read_until_its_time_is_over() -> None:
    assert read_token(SECRET, TOKEN, NOW + TOKEN_SECONDS - 1) == GRANT
    with pytest.raises(TokenExpiredError):
        read_token(SECRET, TOKEN, NOW + TOKEN_SECONDS)


def test_another_secret_reads_nothing() -> None:
    with pytest.raises(TokenError):
        read_token(b"t" * 32, TOKEN, NOW)


@given(st.integers(0, len(TOKEN) - 1), st.sampled_from("Aa0.-_é\0"))
def test_no_changed_character_is_taken(position: int, character: str) -> None:
    changed = TOKEN[:position] + character + TOKEN[position + 1 :]
    if changed != TOKEN:
        with pytest.raises(TokenError):
            read_token(SECRET, changed, NOW)


@given(st.text(max_size=60))
def test_no_text_is_taken(text: str) -> None:
    with pytest.raises(TokenError):
        read_token(SECRET, text, NOW)


def test_no_endless_text_is_looked_at() -> None:
    with pytest.raises(TokenError):
        read_token(SECRET, TOKEN + "A" * 5000, NOW)
