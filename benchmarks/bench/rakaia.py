"""A peer: the other Python server, in memory, on the HTTP server that ours runs on.

It is no dependency of ours: it is installed, as it is pinned, into a folder of its own in the cache
when it is measured.
"""

from __future__ import annotations

import subprocess
import sys

from bench.bare import serve
from bench.processes import ROOT

PINS = ROOT / "requirements" / "peers.txt"
PLACE = ROOT / ".cache" / "bench" / "peers"
SECONDS = 120


def install() -> str | None:
    """Bring it here; return why that did not work, or None when it is here."""
    done = PLACE / "installed"
    if done.exists() and done.read_bytes() == PINS.read_bytes():
        return None
    command = [
        *(str(ROOT / "scripts" / "setup.sh"), "uv", "pip", "install", "--quiet"),
        *("--python", sys.executable, "--target", str(PLACE)),
        *("--require-hashes", "-r", str(PINS)),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"installing it took longer than {SECONDS} s"
    except subprocess.CalledProcessError as error:
        return str(error.stderr).strip().rpartition("\n")[2]
    done.write_bytes(PINS.read_bytes())
    return None


def main() -> None:
    """Serve on a port."""
    sys.path.append(str(PLACE))
    from rakaia import create_app  # type: ignore[import-not-found]

    serve(create_app(), int(sys.argv[1]))


if __name__ == "__main__":
    main()
