"""``python -m emulator --port 0``: prints one JSON line with its address, then serves."""

import argparse
import json
import sys

from emulator._server import LOOPBACK, listen, make_server
from emulator._state import State


def main() -> None:
    parser = argparse.ArgumentParser(prog="emulator", description="A scripted model server.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    port = parser.parse_args().port
    with listen(port) as listener:
        url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        sys.stdout.write(json.dumps({"url": url}) + "\n")
        sys.stdout.flush()
        make_server(State()).run([listener])


if __name__ == "__main__":
    main()
