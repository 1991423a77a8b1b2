"""Patterns over stream paths."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams_server._glob import Glob, PatternError

SEGMENTS = st.sampled_from(["a", "b", "*", "**"])
PATHS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("events/*", ["events/a"], ["events", "events/", "events/a/b", "eventsx/a", "x/events/a"]),
        ("events/**", ["events", "events/a", "events/a/b"], ["eventsx", "event"]),
        ("**/log", ["log", "a/log", "a/b/log"], ["alog", "log/a"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a", "a/x", "b"]),
        ("**", ["a", "a/b"], []),
        ("*", ["a"], ["a/b"]),
        ("/a", ["a"], ["a/a"]),
        ("a%2Ab", ["a*b"], ["axb", "a%2Ab"]),
        ("caf%C3%A9", ["caf%C3%A9"], ["cafe"]),
        ("café", ["caf%C3%A9"], ["cafe"]),
        ("*/**/*", ["a/b", "a/b/c"], ["a"]),
    ],
)
def test_what_matches(pattern: str, matching: list[str], others: list[str]) -> None:
    glob = Glob.parse(pattern)
    assert [path for path in matching if not glob.matches(path)] == []
    assert [path for path in others if glob.matches(path)] == []
    assert all(path.startswith(glob.prefix) for path in matching)


@pytest.mark.parametrize("text", ["", "/", "a*", "a/b*c", "***", "a/../b", "a//b", "x" * 1025])
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(PatternError):
        Glob.parse(text)


@given(st.lists(SEGMENTS, min_size=1, max_size=5), PATHS)
def test_it_agrees_with_a_regular_expression(segments: list[str], path: list[str]) -> None:
    names = {"*": r"[^/]+/", "**": r"(?:[^/]+/)*"}
    expression = "".join(names.get(segment, segment + "/") for segment in segments)
    glob = Glob.parse("/".join(segments))
    expected = re.fullmatch(expression, "/".join(path) + "/") is not None
    assert glob.matches("/".join(path)) == expected


def test_a_pattern_of_many_wildcards_takes_no_time() -> None:
    glob = Glob.parse("/".join(["**", "a"] * 100))
    assert not glob.matches("/".join(["a"] * 99 + ["b"]))
    assert glob.matches("/".join(["a"] * 200))
