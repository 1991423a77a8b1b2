"""Write the transport shells of the other flavours from the asynchronous one for httpx2.

python scripts/generate_shells.py           write them
python scripts/generate_shells.py --check   exit 1 if one of them is not up to date
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

SHELLS = Path(__file__).parent.parent / "packages/transport/src/durable_transport/_shell"
NOTE = "# Generated from {source} by scripts/generate_shells.py: change that file, not this one.\n"

TO_HTTPX = [(r"http(x|core)2", r"http\1")]
TO_SYNC = [
    (r"The asynchronous transport", "The synchronous transport"),
    (r"an asynchronous transport", "a synchronous transport"),
    (r"async def ", "def "),
    (r"\bawait ", ""),
    (r"_async_stream", "_sync_stream"),
    (r"_io_async", "_io_sync"),
    (r"Async(DurableTransport|BaseTransport|HTTPTransport|Iterator)", r"\1"),
    (r"AsyncByteStream", "SyncByteStream"),
    (r"StopAsyncIteration", "StopIteration"),
    (r"handle_async_request", "handle_request"),
    (r"__a(iter|next)__", r"__\1__"),
    (r"\ba(iter|next)\(", r"\1("),
    (r"\ba(close|read)\b", r"\1"),
]
STREAM_TO_SYNC = [
    ("The asynchronous client", "The synchronous client"),
    (r"_async_(stream|requests|httpx2)", r"_sync_\1"),
    (r"_appends_async", "_appends_sync"),
    (r"\basync (with|for) ", r"\1 "),
    (r"item async for batch", "item for batch"),
    (r"__a(enter|exit)__", r"__\1__"),
    (r"AsyncClient", "Client"),
    (r"\b(DurableStream|StreamReader)\b", r"Sync\1"),
    (r"For asyncio\.", "For threads."),
    *TO_SYNC,
]
HANDLE_TO_SYNC = [
    # `close` is the protocol's word for what happens to the stream.
    (r"\b(def |self\.|reader\.|`)aclose\b", r"\1disconnect"),
    (r" \(``async`` too\)", ""),
    (r"``async for``", "``for``"),
    *STREAM_TO_SYNC,
]
PLAN = [
    ("_async_requests.py", "_sync_requests.py", STREAM_TO_SYNC),
    ("_async_stream.py", "_sync_stream.py", HANDLE_TO_SYNC),
    ("_async_httpx2.py", "_sync_httpx2.py", TO_SYNC),
    ("_async_httpx2.py", "_async_httpx.py", TO_HTTPX),
    ("_async_httpx2.py", "_sync_httpx.py", TO_SYNC + TO_HTTPX),
    ("_errors_httpx2.py", "_errors_httpx.py", TO_HTTPX),
]


def generate(source: str, rules: list[tuple[str, str]]) -> str:
    text = (SHELLS / source).read_text()
    for pattern, replacement in rules:
        text = re.sub(pattern, replacement, text)
    return _ruff(
        ["format"], _ruff(["check", "--select=I", "--fix", "--quiet"], _noted(text, source))
    )


def _noted(text: str, source: str) -> str:
    note = NOTE.format(source=source)
    if not text.startswith("#"):
        return note + text
    pragma, rest = text.split("\n", 1)
    return f"{pragma}\n{note}{rest}"


def _ruff(command: list[str], text: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(SHELLS / "x.py"), "-"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing, only compare")
    check = parser.parse_args().check
    stale = []
    for source, target, rules in PLAN:
        file, text = SHELLS / target, generate(source, rules)
        if file.exists() and file.read_text() == text:
            continue
        stale.append(target)
        if not check:
            file.write_text(text)
    if stale:
        verb = "is not up to date" if check else "written"
        print(*(f"{name} {verb}" for name in stale), sep="\n")
    if stale and check:
        print("run: python scripts/generate_shells.py")
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
