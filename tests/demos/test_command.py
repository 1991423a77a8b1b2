"""``demo NAME``: what it lists, what it refuses, and what it says when a page cannot be built."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from durable_ai_db_proxy import _ids
from durable_ai_db_proxy._errors import RefusedError
from durable_demos import _cli, _pages, _serve
from durable_demos._cli import DEMOS, main
from durable_demos._pages import PagesError
from durable_demos.terminal.__main__ import SESSION
from durable_demos.terminal._service import ADDRESS, ServiceError, ensure_service, require_answer

if TYPE_CHECKING:
    from pathlib import Path


def test_alone_it_lists_the_demos() -> None:
    told = CliRunner().invoke(main)
    assert told.exit_code == 0
    for name in DEMOS:
        assert f"  {name}  " in told.output


def test_the_readme_begins_with_what_needs_nothing_installed() -> None:
    readme = (_pages.ROOT / "demos" / "README.md").read_text(encoding="utf-8")
    commands = readme.partition("```sh\n")[2].partition("```")[0].splitlines()
    assert [line.partition(" ")[0] for line in commands] == ["make", "make", "uv"]
    assert all(line.split("NAME=")[1].split()[0] in {"--help", *DEMOS} for line in commands[:2])


def test_each_demo_is_a_package_with_a_page() -> None:
    for name in DEMOS:
        package = _pages.ROOT / "demos" / "src" / "durable_demos" / name.replace("-", "_")
        assert (package / "__main__.py").is_file(), name


def test_an_unknown_demo_is_named_with_what_there_is() -> None:
    told = CliRunner().invoke(main, ["nope"])
    assert told.exit_code == 2
    assert "No such command 'nope'" in told.output


def test_a_demo_has_options_of_its_own() -> None:
    told = CliRunner().invoke(main, ["vercel-ai-sdk-durable-transport", "--help"])
    assert told.exit_code == 0
    assert {"--port", "--host", "--data", "--pace", "--rebuild", "--no-open"} <= set(
        told.output.replace(",", " ").split()
    )


@pytest.mark.parametrize("name", ["vercel-ai-sdk-durable-transport", "terminal"])
def test_a_folder_that_cannot_be_is_told_with_its_option(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = CliRunner().invoke(main, [name, "--data", str(tmp_path / "file" / "data")])
    assert told.exit_code == 1
    assert "Not a directory. Choose another folder with --data" in told.output


WEB = [name for name in DEMOS if "durable" in name]


@pytest.fixture
def without_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_serve, "ensure_pages", lambda **_: None)


def _refused(name: str, data: Path) -> str:
    """What a demo says that does not start, in one line."""
    told = CliRunner().invoke(main, [name, "--data", str(data), *(["--port", "0"] * (name in WEB))])
    assert told.exit_code == 1, told.output
    assert "another folder with --data" in told.output
    assert "--store" not in told.output
    assert "another file" not in told.output
    assert told.output.count("\n") == 1
    return told.output


@pytest.mark.allow_blocking  # a whole program: when it does not start, nobody waits for its loop
@pytest.mark.usefixtures("without_pages")
@pytest.mark.parametrize("name", WEB)
def test_a_store_that_another_demo_has_is_told_with_its_option(name: str, tmp_path: Path) -> None:
    with (tmp_path / "streams.sqlite.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "a demo has its store for itself. Stop that one" in _refused(name, tmp_path)


@pytest.mark.allow_blocking  # a whole program: when it does not start, nobody waits for its loop
@pytest.mark.usefixtures("without_pages")
@pytest.mark.parametrize("name", WEB)
def test_a_store_that_is_none_is_told_with_its_option(name: str, tmp_path: Path) -> None:
    (tmp_path / "streams.sqlite").write_text("something else, and long enough for a page\n" * 200)
    assert "the file is not a SQLite database. Choose another" in _refused(name, tmp_path)


def test_a_service_that_does_not_start_says_why(tmp_path: Path) -> None:
    with (tmp_path / "streams.sqlite.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ServiceError, match="a demo has its store for itself") as caught:
            ensure_service(tmp_path)
    assert "another folder with --data" in str(caught.value)


def test_a_service_whose_port_is_taken_takes_another(tmp_path: Path, unit: float) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = {"url": f"http://127.0.0.1:{taken.getsockname()[1]}/durable"}
        (tmp_path / ADDRESS).write_text(json.dumps(told))
        command = [sys.executable, "-m", "durable_demos.terminal._service"]
        with subprocess.Popen(
            [*command, "--data", str(tmp_path), "--idle", "0.1"], stdout=subprocess.PIPE, text=True
        ) as service:
            try:
                said, _ = service.communicate(timeout=60 * unit)
            finally:
                service.kill()
    assert said.startswith("sessions at http://127.0.0.1:")
    assert told["url"] not in said


@pytest.mark.parametrize("option", ["--url", "--agent"])
@pytest.mark.parametrize(
    "address", ["nonsense", "http://", "http://[", "http://x:99999", "ftp://x"]
)
def test_an_address_that_is_none_is_told(option: str, address: str) -> None:
    told = CliRunner().invoke(main, ["terminal", option, address])
    assert told.exit_code == 2
    assert f"'{option}': {address!r} is no address" in told.output


@pytest.mark.parametrize("named", ["a/b c", "", ".", "..", "x\n", "é", "a?b", "x" * 201])
def test_a_session_that_cannot_be_is_told_with_what_can(named: str) -> None:
    told = CliRunner().invoke(main, ["terminal", f"--session={named}"])
    assert told.exit_code == 2
    assert "'--session'" in told.output
    assert "1 to 200 characters of A-Z a-z 0-9 and _ . ~" in " ".join(told.output.split())


def test_it_takes_the_sessions_that_the_service_takes() -> None:
    for named in [*map(chr, range(256)), "..", "...", ".a", "x" * 200, "x" * 201, "x\n"]:
        try:
            _ids.session_id(named)
        except RefusedError:
            assert not SESSION.fullmatch(named), named
        else:
            assert SESSION.fullmatch(named), named


def test_an_agent_without_a_service_is_told_with_the_remedy(tmp_path: Path) -> None:
    told = CliRunner().invoke(
        main, ["terminal", "--agent", "http://x/", "--data", str(tmp_path / "data")]
    )
    assert told.exit_code == 2
    assert "Give --url too, or leave --agent out" in " ".join(told.output.split())
    assert not (tmp_path / "data").exists()


def test_without_a_terminal_it_says_so_and_starts_nothing(tmp_path: Path, unit: float) -> None:
    command = [sys.executable, "-m", "durable_demos._cli", "terminal", "--data", str(tmp_path)]
    leader, follower = pty.openpty()
    try:
        for stdin, stdout in [
            (subprocess.DEVNULL, subprocess.PIPE),
            (follower, subprocess.PIPE),
            (subprocess.DEVNULL, follower),
        ]:
            done = subprocess.run(
                command,
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                timeout=30 * unit,
                check=False,
            )
            assert (done.returncode, done.stdout or b"") == (2, b"")
            assert b"this needs a terminal" in done.stderr
    finally:
        os.close(leader)
        os.close(follower)
    assert not list(tmp_path.iterdir())


def test_a_service_that_does_not_answer_is_told_with_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(ServiceError, match=f"nothing answers at {url} .*leave --url out"):
        require_answer(url)


@pytest.mark.parametrize("pace", ["nan", "inf", "-1", "0", "61", "soon"])
@pytest.mark.parametrize("name", DEMOS)
def test_a_pace_is_a_number_above_nothing(name: str, pace: str) -> None:
    told = CliRunner().invoke(main, [name, f"--pace={pace}"])
    assert told.exit_code == 2, told.output
    assert "--pace" in told.output
    assert f"{float(pace) if pace in ('inf', '-1', '0', '61') else pace}" in told.output


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "place",
    [(_cli, "import_module"), (_serve, "ensure_pages"), (_serve, "bind"), (_serve, "run")],
    ids=["importing", "building", "binding", "opening the store"],
)
@pytest.mark.usefixtures("without_pages")
def test_ctrl_c_says_the_same_whenever_it_comes(
    place: tuple[object, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(*place, _interrupted)
    arguments = [WEB[0], "--data", str(tmp_path), "--port", "0"]
    told = CliRunner().invoke(main, arguments)
    assert (told.exit_code, told.output) == (130, "\nstopped\n")


def test_the_help_says_which_key_ends_a_demo() -> None:
    assert "Ctrl-Q the one named terminal" in " ".join(CliRunner().invoke(main).output.split())
    told = CliRunner().invoke(main, ["terminal", "--help"])
    assert "Ctrl-Q ends it" in told.output


def _nothing_is_built(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(_pages, "BUILT", folder / "built")
    monkeypatch.setattr(_pages, "CACHE", folder)


def test_without_node_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _nothing_is_built(monkeypatch, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PagesError, match=r"there is no node in PATH.\nInstall it") as caught:
        _pages.ensure_pages(out=io.StringIO())
    assert "Node.js 20 or newer" in str(caught.value)


def test_an_old_node_is_told_by_its_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _nothing_is_built(monkeypatch, tmp_path)
    for name in ("node", "npm"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho v18.19.0\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PagesError, match=r"`node --version` says v18\.19\.0"):
        _pages.ensure_pages(out=io.StringIO())


def test_a_build_that_fails_shows_what_it_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _nothing_is_built(monkeypatch, tmp_path)
    installed = tmp_path / "ready"
    installed.touch()
    monkeypatch.setattr(_pages, "INSTALLED", installed)
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\necho v20.1.0\n")
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho src/page.tsx: a parenthesis is missing; exit 3\n")
    for program in (node, npm):
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    out = io.StringIO()
    with pytest.raises(PagesError, match=r"\(exit code 3\):\nsrc/page.tsx: a parenthesis"):
        _pages.ensure_pages(out=out)
    assert out.getvalue().startswith("building the pages … ")
    assert out.getvalue().count("\n") == 1
    assert not _pages.BUILT.exists()


def test_what_was_built_of_these_sources_is_not_built_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sources = tmp_path / "web"
    sources.mkdir()
    (sources / "page.tsx").write_text("one")
    monkeypatch.setattr(_pages, "ROOT", tmp_path)
    monkeypatch.setattr(_pages, "SOURCES", [sources])
    _nothing_is_built(monkeypatch, tmp_path)
    steps: list[str] = []
    monkeypatch.setattr(_pages, "_npm", lambda: "npm")
    monkeypatch.setattr(_pages, "_step", lambda what, *_: steps.append(what))

    def builds() -> int:
        steps.clear()
        _pages.ensure_pages()
        return steps.count("building the pages")

    assert builds() == 1
    assert builds() == 0
    (sources / "page.tsx").write_text("two and more")
    assert builds() == 1
    (sources / "other.tsx").write_text("")
    assert builds() == 1
    (sources / "other.tsx").unlink()
    assert builds() == 1
    assert builds() == 0
    _pages.ensure_pages(rebuild=True)
    assert steps == ["building the pages"]
