"""Stream names: one spelling each, and no two names become one."""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from durable_streams_server._path import MAX_PATH_LENGTH, InvalidPathError, stream_path


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("a", "a"),
        ("a/b/c", "a/b/c"),
        ("a/", "a/"),
        ("a//b", "a//b"),
        ("/", "/"),
        ("%61", "a"),
        ("a%2Fb", "a%2Fb"),
        ("a%2fb", "a%2Fb"),
        ("a%252Fb", "a%252Fb"),
        ("a%20b", "a%20b"),
        ("a+b", "a+b"),
        ("%E2%82%AC", "%E2%82%AC"),
        ("%e2%82%ac", "%E2%82%AC"),
        ("x:y@z;v=1,2", "x:y@z;v=1,2"),
        ("100%", "100%25"),
        ("%zz", "%25zz"),
        ("...", "..."),
        ("..a/.b", "..a/.b"),
        ("a%3Fb%23c", "a%3Fb%23c"),
        ("~user", "~user"),
        ("%7Euser", "~user"),
        ("a%0Ab", "a%0Ab"),
        ("x" * MAX_PATH_LENGTH, "x" * MAX_PATH_LENGTH),
    ],
)
def test_canonical_names(raw: str, name: str) -> None:
    assert stream_path(raw) == name
    assert stream_path(name) == name


@pytest.mark.parametrize(
    "raw",
    [
        "", ".", "..", "a/..", "../a", "a/../b", "a/./b", "%2e%2e", "a/%2E/b", "a/.%2e/b", "%2e",
        "a%00b", "\0", "%ff", "%c3", "a/%80", "%ed%a0%80", "x" * (MAX_PATH_LENGTH + 1),
        "%20" * (MAX_PATH_LENGTH // 3 + 1),
    ],
)  # fmt: skip
def test_names_that_are_refused(raw: str) -> None:
    with pytest.raises(InvalidPathError) as refused:
        stream_path(raw)
    assert len(str(refused.value)) < 100


raws = st.text("ab./%2Ff6E10~ é€", min_size=1, max_size=12) | st.text(min_size=1, max_size=6).map(
    lambda text: quote(text, safe="/")
)


def _canonical(raw: str) -> str:
    try:
        return stream_path(raw)
    except InvalidPathError:
        assume(False)
        raise


@given(raws)
def test_a_name_is_its_own_canonical_form(raw: str) -> None:
    name = _canonical(raw)
    assert stream_path(name) == name
    assert name.isascii()


@given(raws, raws)
def test_two_urls_are_one_stream_only_if_their_segments_mean_the_same(one: str, two: str) -> None:
    def meaning(raw: str) -> list[bytes]:
        return [unquote_to_bytes(segment) for segment in raw.split("/")]

    assert (_canonical(one) == _canonical(two)) is (meaning(one) == meaning(two))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_names_survive_the_way_through_a_url(segments: list[str]) -> None:
    raw = "/".join(quote(segment, safe="") for segment in segments)
    name = _canonical(raw)
    assert [unquote_to_bytes(part).decode() for part in name.split("/")] == segments


@pytest.mark.parametrize("raw", ["__ds", "__ds/", "__ds/subscriptions/a", "%5F_ds/keys"])
def test_reserved_paths_are_no_streams(raw: str) -> None:
    with pytest.raises(InvalidPathError, match="reserved"):
        stream_path(raw)


def test_a_path_that_only_looks_reserved_is_a_stream() -> None:
    assert stream_path("__dsx/a") == "__dsx/a"
    assert stream_path("a/__ds") == "a/__ds"
