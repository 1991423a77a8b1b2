"""The pages of the demos: built with Vite when they are missing or older than their sources."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from starlette.requests import Request
    from starlette.routing import BaseRoute

ROOT = Path(__file__).resolve().parents[3]
WEB = ROOT / "demos" / "web"
DIST = WEB / "dist"
BUILT = DIST / "built"
"""Says of which sources the pages were built."""
CACHE = ROOT / ".cache" / "demos"
LOCK_FILE = ROOT / "package-lock.json"
INSTALLED = ROOT / "node_modules" / "ready"
SOURCES = [LOCK_FILE, ROOT / "packages" / "browser", WEB]
NOT_SOURCES = {"dist", "node_modules", "tests", "test"}

INSTALL = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
BUILD = ("run", "build", "--workspace=demos/web")

NODE = 20
NEEDS_NODE = (
    "The page of this demo is built with Node.js {wanted} or newer and its npm: {found}.\n"
    "Install it (Debian, Ubuntu: apt-get install nodejs npm; macOS: brew install node) and run"
    " the same command again."
)
STEP_SECONDS = 600
TICK_SECONDS = 0.2
SHOWN_LINES = 15


class PagesError(Exception):
    """A page cannot be built; the text says why and what to do."""


def ensure_pages(*, rebuild: bool = False, out: IO[str] = sys.stderr) -> None:
    """Build the pages of all demos, unless those there are of the sources as they are now.

    One process at a time does it: another one that needs them waits, and then has them.

    Args:
        rebuild: Build them in any case.
        out: Where the progress is shown, on one line.

    Raises:
        PagesError: Node.js is missing or too old, or a step failed.
    """
    if not rebuild and _built_of() == _fingerprint():
        return
    with _alone():
        sources = _fingerprint()
        if not rebuild and _built_of() == sources:
            return
        npm = _npm()
        if not (INSTALLED.exists() and INSTALLED.stat().st_mtime >= LOCK_FILE.stat().st_mtime):
            _step("installing npm packages", [npm, *INSTALL], out)
            INSTALLED.touch()
        _step("building the pages", [npm, *BUILD], out)
        BUILT.write_text(sources)


def page_routes(name: str, config: Mapping[str, object]) -> list[BaseRoute]:
    """The routes of a demo's page: ``/``, and its scripts and styles.

    Args:
        name: The demo's, which is that of the page's folder.
        config: What the page has to know, written into it where ``readConfig()`` finds it.
    """
    # Nothing in it can end the element that it stands in.
    script = json.dumps(config).replace("<", "\\u003c")
    element = f'<script type="application/json" id="config">{script}</script>'

    def page(_request: Request) -> Response:
        text = (DIST / name / "index.html").read_text(encoding="utf-8")
        text = text.replace("</head>", f"{element}</head>", 1)
        return HTMLResponse(text, headers={"Cache-Control": "no-cache"})

    return [
        Route("/", page, name="page"),
        Mount("/assets", StaticFiles(directory=DIST / "assets", check_dir=False), name="assets"),
    ]


def _built_of() -> str:
    return BUILT.read_text() if BUILT.exists() else ""


def _fingerprint() -> str:
    """Of all sources, by what they hold: a copy of the project, in an image too, has the same."""
    facts = [
        f"{source.relative_to(ROOT)} {hashlib.sha256(source.read_bytes()).hexdigest()}"
        for source in _sources()
    ]
    return hashlib.sha256("\n".join(sorted(facts)).encode()).hexdigest()


def _sources() -> Iterator[Path]:
    for source in SOURCES:
        if source.is_file():
            yield source
        for folder, folders, files in os.walk(source):
            folders[:] = [name for name in folders if name not in NOT_SOURCES]
            yield from (Path(folder, name) for name in files)


@contextmanager
def _alone() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _npm() -> str:
    """The npm to build with."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        missing = "node" if node is None else "npm"
        raise PagesError(NEEDS_NODE.format(wanted=NODE, found=f"there is no {missing} in PATH"))
    asked = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    version = asked.stdout.strip()
    major = version.lstrip("v").partition(".")[0]
    if not major.isdecimal() or int(major) < NODE:
        found = f"`node --version` says {version or asked.stderr.strip() or 'nothing'}"
        raise PagesError(NEEDS_NODE.format(wanted=NODE, found=found))
    return npm


def _step(what: str, command: list[str], out: IO[str]) -> None:
    """Run one step, its name and seconds on one line, and what it wrote if it fails."""
    started = time.monotonic()
    live = out.isatty()
    with tempfile.TemporaryFile("w+") as log:
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        ) as process:
            code = None
            while code is None:
                try:
                    code = process.wait(TICK_SECONDS)
                except subprocess.TimeoutExpired:
                    seconds = time.monotonic() - started
                    if live:
                        print(f"\r{what} … {seconds:.0f} s ", end="", file=out, flush=True)
                    if seconds > STEP_SECONDS:
                        process.kill()
                except BaseException:
                    process.kill()
                    raise
        seconds = time.monotonic() - started
        print(f"{chr(13) if live else ''}{what} … {seconds:.0f} s ", file=out, flush=True)
        if code:
            log.seek(0)
            said = log.read().splitlines()[-SHOWN_LINES:]
            failed = f"`{' '.join(command)}` failed in {ROOT} (exit code {code}):"
            raise PagesError("\n".join([failed, *said]))


if __name__ == "__main__":
    ensure_pages()
