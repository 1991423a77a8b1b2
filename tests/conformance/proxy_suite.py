"""Run the protocol authors' tests of a proxy against ours, from a checkout of their repository.

They are not published as a package:

    .venv/bin/python tests/conformance/proxy_suite.py PATH/OF/durable-streams

They guess at free ports: what fails with EADDRINUSE has guessed wrong.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SECRET = "test-secret-key-for-development"
ALLOWED = (
    "http://localhost:*/**",
    "https://api.openai.com/**",
    "https://api.anthropic.com/v1/*",
    "https://*.example.com/api/**",
)
"""What the tests expect."""
CONFIG = """
export default {
  test: {
    include: ["proxy/src/__tests__/**/*.test.ts"],
    testTimeout: 30000,
    hookTimeout: 30000,
    fileParallelism: false, // they guess at free ports
  },
}
"""


def main(checkout: Path) -> int:
    """Serve a proxy, and run the tests; their exit code."""
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        shutil.copytree(checkout / "packages" / "proxy", here / "proxy", symlinks=True)
        (here / "proxy" / "tsconfig.json").write_text('{"compilerOptions": {"target": "ES2022"}}')
        (here / "vitest.config.mjs").write_text(CONFIG)
        (here / "node_modules").symlink_to(HERE / "node_modules")
        proxy = _serve(here)
        try:
            assert proxy.stdout is not None
            url = proxy.stdout.readline().split()[1]
            return subprocess.run(
                ["npx", "vitest", "run", "--config", "vitest.config.mjs"],
                cwd=here,
                env=os.environ | {"PROXY_CONFORMANCE_URL": url},
                check=False,
                timeout=600,
            ).returncode
        finally:
            proxy.terminate()
            proxy.wait(timeout=60)


def _serve(directory: Path) -> subprocess.Popen[str]:
    allowing = [part for pattern in ALLOWED for part in ("--allow", pattern)]
    return subprocess.Popen(
        [
            *(str(Path(sys.executable).with_name("durable-proxy")), "serve", "--port", "0"),
            *("--store", f"sqlite:///{directory / 'proxy.sqlite'}", "--drain", "1"),
            *("--cors-origin", "*", *allowing),
        ],
        env=os.environ | {"PROXY_SECRET": SECRET},
        stdout=subprocess.PIPE,
        text=True,
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
