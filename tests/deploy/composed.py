"""What the Dockerfiles and the compose file say, so that tests run exactly that."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
OURS: dict[str, Any] = {name: one for name, one in COMPOSE["services"].items() if "build" in one}
"""The services that are built here, by name."""

VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


@dataclass(frozen=True)
class Dockerfile:
    """One Dockerfile: its last stage's settings, and what it copies from the repository."""

    path: Path
    instructions: tuple[tuple[str, str], ...]

    @property
    def stages(self) -> list[list[tuple[str, str]]]:
        """The instructions of each stage."""
        found: list[list[tuple[str, str]]] = []
        for name, value in self.instructions:
            if name == "FROM":
                found.append([])
            found[-1].append((name, value))
        return found

    def last(self, name: str) -> str:
        """What an instruction of the last stage says."""
        *_, value = (value for found, value in self.stages[-1] if found == name)
        return value

    def command(self, name: str) -> list[str]:
        """The same for one that is written as a list."""
        words: list[str] = json.loads(self.last(name))
        return words

    @property
    def environment(self) -> dict[str, str]:
        """What the image sets."""
        pairs = [
            pair for name, value in self.stages[-1] if name == "ENV" for pair in shlex.split(value)
        ]
        return dict(pair.split("=", 1) for pair in pairs)

    @property
    def health_check(self) -> tuple[dict[str, str], list[str]]:
        """Options of the health check, and its command."""
        options, _, command = self.last("HEALTHCHECK").partition("CMD ")
        words: list[str] = json.loads(command)
        return dict(re.findall(r"--([a-z-]+)=(\S+)", options)), words


@cache
def dockerfile(service: str) -> Dockerfile:
    """Read the Dockerfile of a service."""
    path = FOLDER / Path(OURS[service]["build"]["dockerfile"]).name
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = (line.split(None, 1) for line in text.splitlines() if line.strip())
    return Dockerfile(path, tuple((name, value.strip()) for name, value in lines))


def filled_in(text: str, variables: Mapping[str, str]) -> str:
    """Put variables in as compose does; a KeyError is one that has to be set."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        return variables.get(name) or rest if kind == "-" else variables[name]

    return VARIABLE.sub(value, text)


def environment(service: str, variables: Mapping[str, str]) -> dict[str, str]:
    """What a container of the service finds in its environment, without ``PATH``."""
    said = {
        name: filled_in(value, variables) if value is not None else variables.get(name)
        for name, value in OURS[service]["environment"].items()
    }
    given = dockerfile(service).environment | {
        name: value for name, value in said.items() if value is not None
    }
    return {name: value for name, value in given.items() if name != "PATH"}


def command(service: str) -> list[str]:
    """What runs in a container of the service."""
    image = dockerfile(service)
    return image.command("ENTRYPOINT") + list(OURS[service].get("command") or image.command("CMD"))


def seconds(text: str) -> int:
    """Read a time such as ``30s``."""
    return int(re.fullmatch(r"(\d+)s", text)[1])  # type: ignore[index]
