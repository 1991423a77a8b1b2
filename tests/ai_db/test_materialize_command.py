"""``durable-sessions materialize``: the reference sessions through the command, and bad files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from ai_db.sessions import CASES, FIXTURES, fixture_rows, materialized, seen
from durable_ai_db._cli import main

if TYPE_CHECKING:
    from pathlib import Path


def _run(*arguments: str, given: bytes = b"") -> tuple[int, str]:
    done = CliRunner().invoke(main, ["materialize", *arguments], input=given)
    return done.exit_code, done.output


@pytest.mark.parametrize("name", CASES)
def test_the_reference_sessions(name: str) -> None:
    code, output = _run(str(FIXTURES / f"{name}.input.json"))
    assert code == 0
    assert json.loads(output) == seen(materialized(fixture_rows(name)))


def test_messages_of_a_stream_are_taken_for_the_chunks_in_them() -> None:
    rows = fixture_rows("tool-call-pieces")
    stream = [
        {"type": "presence", "key": "ada", "value": {}, "headers": {"operation": "upsert"}},
        {"headers": {"control": "snapshot-start"}},
        *({"type": "chunk", "key": row.key, "value": row.to_json(), "headers": {}} for row in rows),
    ]
    code, output = _run("-", "--session", "s1", "--indent", "0", given=json.dumps(stream).encode())
    assert code == 0
    assert output.count("\n") == 1
    assert json.loads(output)["messages"] == seen(materialized(rows))["messages"]
    assert json.loads(output)["stats"]["sessionId"] == "s1"


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"messages": []}', "not an array of chunk rows"),
        (b"[7]", "item 0: a chunk row is an object, not int"),
        (b"[{}]", "item 0: seq: not a whole number"),
        (b'[{"seq": true}]', "item 0: seq: not a whole number"),
        (b'[{"seq": 0, "role": "tool"}]', "item 0: role: not one of user, assistant, system"),
        (b'[{"seq": 0, "role": "user"}]', "item 0: messageId: not a text"),
    ],
    ids=["empty", "bytes", "deep", "object", "number", "no-seq", "bool-seq", "role", "no-id"],
)
def test_what_is_no_session(given: bytes, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_bytes(given)
    code, output = _run(str(file))
    assert code == 1
    assert output.startswith(f"Error: {file}: {complaint}")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    code, output = _run(str(tmp_path / "none.json"))
    assert code == 2
    assert "No such file" in output
