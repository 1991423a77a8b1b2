"""Builds every package's wheel and tries each one alone in an empty virtual environment.

Each wheel is installed twice: with the newest and with the oldest dependencies that its metadata
allow. Our own packages come from the wheels just built, everything else from the package index.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from configparser import ConfigParser
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).parents[1]
RESOLUTIONS = ("highest", "lowest-direct")

TRY_IT = """
import importlib, importlib.metadata, pathlib, sys
name, module_name, version = sys.argv[1:]
module = importlib.import_module(module_name)
folder = pathlib.Path(module.__file__).parent
assert "site-packages" in folder.parts, f"imported from {folder}"
assert importlib.metadata.version(name) == version
missing = [one for one in module.__all__ if not hasattr(module, one)]
assert not missing, f"__all__ names what is not there: {missing}"
print(f"{len(module.__all__)} public names")
"""


@dataclass(frozen=True)
class Wheel:
    """A built wheel and what it says of itself."""

    file: Path
    metadata: Message
    names: frozenset[str]
    commands: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the name of the distribution."""
        return str(self.metadata["Name"])

    @property
    def version(self) -> str:
        """Return the version of the distribution."""
        return str(self.metadata["Version"])

    @property
    def dependencies(self) -> list[str]:
        """Return what it always needs."""
        needed = self.metadata.get_all("Requires-Dist", [])
        return [str(one) for one in needed if "extra ==" not in str(one)]

    @property
    def module(self) -> str:
        """Return the module that it is imported by."""
        return self.name.replace("-", "_")


def main() -> int:
    """Build, inspect and try all wheels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", choices=RESOLUTIONS, action="append")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wheels-") as name:
        folder = Path(name)
        build(folder / "dist")
        # The demos are an application, and not published.
        files = sorted(file for file in (folder / "dist").glob("*.whl") if "demos" not in file.name)
        wheels = [open_wheel(file) for file in files]
        problems = [problem for wheel in wheels for problem in inspect(wheel)]
        for resolution in options.resolution or RESOLUTIONS:
            for wheel in wheels:
                problems += try_alone(wheel, folder, resolution)
    for problem in problems:
        print(f"error: {problem}")
    print(f"wheels: {len(wheels)} built, {len(problems)} problems")
    return 1 if problems or not wheels else 0


def uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run uv, wherever the set-up finds it."""
    command = [str(ROOT / "scripts" / "setup.sh"), "uv", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)


def build(target: Path) -> None:
    """Build the wheel of every package by way of its source distribution."""
    done = uv(
        *("build", "--all-packages", "--no-sources", "--out-dir", str(target)),
        *("--build-constraint", "requirements/build.txt", "--require-hashes"),
    )
    if done.returncode:
        sys.exit(f"error: the build failed\n{done.stderr}")


def open_wheel(file: Path) -> Wheel:
    """Read a wheel's metadata and the names of its files."""
    with zipfile.ZipFile(file) as archive:
        names = frozenset(archive.namelist())
        (info,) = {name.partition("/")[0] for name in names if ".dist-info/" in name}
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        entry_points = ConfigParser()
        if f"{info}/entry_points.txt" in names:
            entry_points.read_string(archive.read(f"{info}/entry_points.txt").decode())
    named = "console_scripts"
    commands = tuple(entry_points[named]) if entry_points.has_section(named) else ()
    return Wheel(file, metadata, names, commands)


def inspect(wheel: Wheel) -> list[str]:
    """Return what is missing in a wheel."""
    problems = []
    if f"{wheel.module}/py.typed" not in wheel.names:
        problems.append("no py.typed")
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.names):
        problems.append("no licence file")
    if wheel.metadata["License-Expression"] != "Apache-2.0":
        problems.append("no licence expression")
    if len(str(wheel.metadata.get_payload())) < 100:
        problems.append("no README as description")
    strangers = {name.partition("/")[0] for name in wheel.names if ".dist-info/" not in name}
    if strangers != {wheel.module}:
        problems.append(f"top-level names {sorted(strangers)}")
    return [f"{wheel.file.name}: {problem}" for problem in problems]


def try_alone(wheel: Wheel, folder: Path, resolution: str) -> list[str]:
    """Install a wheel into an empty environment, import it and run its commands' help."""
    place = folder / f"{wheel.module}-{resolution}"
    python = place / "bin" / "python"
    label = f"{wheel.file.name} ({resolution})"
    uv("venv", "--quiet", "--python", sys.executable, str(place))
    # To uv only what the command line names is direct, so the dependencies are named as well.
    done = uv(
        *("pip", "install", "--quiet", "--python", str(python), "--resolution", resolution),
        *("--find-links", str(wheel.file.parent), str(wheel.file), *wheel.dependencies),
    )
    if done.returncode:
        return [f"{label}: cannot be installed\n{done.stderr}"]
    steps = [[str(python), "-W", "error", "-c", TRY_IT, wheel.name, wheel.module, wheel.version]]
    steps += [[str(place / "bin" / command), "--help"] for command in wheel.commands]
    problems = []
    for step in steps:
        ran = run_outside(step, folder)
        if ran.returncode:
            problems.append(f"{label}: {Path(step[0]).name} failed\n{ran.stderr or ran.stdout}")
    answer = "cannot be used" if problems else f"works, {len(wheel.commands)} commands"
    print(f"{label}: {answer}", flush=True)
    return problems


def run_outside(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command away from the checkout, so that only installed code is found."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


if __name__ == "__main__":
    raise SystemExit(main())
