"""Runs a script without a key: beside an emulated model and a durable proxy.

python demos/scripts/run.py with_openai.py
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))

from durable_demos.interrupted._answer import ANSWER, PACE_SECONDS  # noqa: E402
from e2e.proxies import proxy_process  # noqa: E402
from emulator import Script, serve_process, words  # noqa: E402

MODELS = ("gpt-5.4-mini", "claude-sonnet-5-5")


def main() -> int:
    """Run the script that is named twice: the second time asks the model nothing."""
    names = sorted(path.name for path in HERE.glob("with_*.py"))
    if len(sys.argv) != 2 or sys.argv[1] not in names:
        print(f"usage: python {sys.argv[0]} SCRIPT, which is one of", *names, file=sys.stderr)
        return 2
    script = HERE / sys.argv[1]
    with tempfile.TemporaryDirectory() as folder, serve_process() as model:
        for name in MODELS:
            model.add(Script(id=name, tokens=words(ANSWER), pace=PACE_SECONDS))
        with proxy_process(Path(folder), f"{model.url}/**") as proxy:
            environment = os.environ | {
                "DURABLE_PROXY": proxy.url,
                "OPENAI_BASE_URL": model.openai_url,
                "ANTHROPIC_BASE_URL": model.anthropic_url,
                "OPENAI_API_KEY": "none-needed",
                "ANTHROPIC_API_KEY": "none-needed",
            }
            for _ in range(2):
                done = subprocess.run([sys.executable, str(script)], env=environment, check=False)
                print("\n")
                if done.returncode:
                    return done.returncode
        print(f"The model was called {model.calls()} time.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
