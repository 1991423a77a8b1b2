"""What can be said of the Dockerfiles and the compose file without an engine to run them."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib import import_module
from importlib.metadata import requires
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.composed import (
    COMPOSE,
    FOLDER,
    OURS,
    ROOT,
    VARIABLE,
    command,
    dockerfile,
    environment,
    seconds,
)
from durable_demos._cli import DEMOS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SERVICES = sorted(OURS)
SECRETS = ("POSTGRES_PASSWORD", "PROXY_SECRET", "SESSIONS_SECRET", "ELECTRIC_SECRET")
EXTRAS = {
    "services.txt": {"durable-streams-server": {"otel", "postgres"}, "durable-proxy": {"otel"}},
    "demos.txt": {},
}


def _pins(file: str) -> dict[str, str]:
    text = (ROOT / "requirements" / file).read_text()
    return {
        canonicalize_name(name): version
        for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    }


def _needed(names: Iterable[str], with_extras: Mapping[str, set[str]]) -> set[str]:
    """All that these packages need on this machine, with what those need."""
    found: set[str] = set()
    waiting = [(name, with_extras.get(name, set())) for name in names]
    while waiting:
        name, extras = waiting.pop()
        for one in map(Requirement, requires(name) or ()):
            wanted = one.marker is None or any(
                one.marker.evaluate({"extra": extra}) for extra in ("", *extras)
            )
            if wanted and one.name not in found:
                found.add(one.name)
                waiting.append((one.name, one.extras | with_extras.get(one.name, set())))
    return {canonicalize_name(name) for name in found}


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_runs_its_command_itself_and_as_nobody(service: str) -> None:
    image = dockerfile(service)
    assert len(image.stages) >= 2
    user, group = image.last("USER").split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert command(service)  # a list, so the process itself is told to stop
    assert "SHELL" not in dict(image.instructions)


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_asks_the_port_that_it_exposes(service: str) -> None:
    image = dockerfile(service)
    options, words = image.health_check
    assert f"'127.0.0.1', {image.last('EXPOSE')}" in words[-1]
    limit = float(re.findall(r"timeout=(\d+)", words[-1])[0])
    assert limit < seconds(options["timeout"]) < seconds(options["interval"])


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_made_of_what_is_there_and_pinned(service: str) -> None:
    image = dockerfile(service)
    pinned: list[str] = []
    for name, value in image.instructions:
        if name == "COPY" and "--from" not in value:
            *sources, _target = value.split()
            assert all((ROOT / source).exists() for source in sources), value
        for install in re.findall(r"pip install [^&]*", value) if name == "RUN" else ():
            assert "--require-hashes" in install or "--no-deps" in install, install
            pinned += re.findall(r"(requirements/\S+\.txt)", install)
            assert all((ROOT / one).is_dir() for one in re.findall(r"(packages/\S+)", install))
    assert {"requirements/uv.txt", "requirements/build.txt"} < set(pinned)


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_has_all_that_its_packages_need(service: str) -> None:
    text = " ".join(value for name, value in dockerfile(service).instructions if name == "RUN")
    (installed,) = re.findall(r"--no-deps [^&]*", text)
    folders = [ROOT / one for one in re.findall(r"packages/[\w-]+|demos$", installed)]
    names = [
        re.findall(r'^name = "(.*)"', (one / "pyproject.toml").read_text(), re.MULTILINE)[0]
        for one in folders
    ]
    (pins,) = set(re.findall(r"requirements/((?:services|demos)\.txt)", text))
    assert len(names) >= 2
    assert _needed(names, EXTRAS[pins]) <= {*_pins(pins), *names}


@pytest.mark.parametrize("service", [name for name in SERVICES if name.startswith("demo-")])
def test_a_demo_is_called_as_it_can_be(service: str) -> None:
    program, name, *options = command(service)
    assert program == "demo"
    assert name in DEMOS
    demo = import_module(f"durable_demos.{name.replace('-', '_')}.__main__").main
    given = demo.make_context(name, list(options)).params
    assert str(given["port"]) == dockerfile(service).last("EXPOSE")
    (volume,) = OURS[service]["volumes"]
    assert volume == f"{service}:{given['data']}"


@pytest.mark.parametrize("file", ["services.txt", "demos.txt"])
def test_images_have_the_versions_that_are_tested(file: str) -> None:
    assert _pins(file).items() <= _pins("dev.txt").items()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_locked_down(service: str) -> None:
    said = OURS[service]
    assert said["read_only"] is True
    assert said["cap_drop"] == ["ALL"]
    assert said["security_opt"] == ["no-new-privileges:true"]
    assert said["restart"] == "unless-stopped"
    for port in said.get("ports", ()):
        outside, _, inside = port.removeprefix("127.0.0.1:").partition(":")
        assert port == f"127.0.0.1:{outside}:{inside}", "published beyond this machine"
        assert inside == dockerfile(service).last("EXPOSE")


def test_what_has_no_secret_is_not_published() -> None:
    assert "--insecure" in command("streams")
    for name in ("streams", "postgres", "electric"):
        assert "ports" not in COMPOSE["services"][name]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_given_the_time_that_its_drain_takes(service: str) -> None:
    given = environment(service, dict.fromkeys(SECRETS, "x"))
    drain = max(
        (float(value) for name, value in given.items() if name.endswith("_DRAIN")), default=5
    )
    assert seconds(OURS[service]["stop_grace_period"]) >= drain + 5


def test_each_database_that_is_used_is_made() -> None:
    made = set(re.findall(r"CREATE DATABASE (\w+);", (FOLDER / "databases.sql").read_text()))
    used = set(re.findall(r"@postgres:5432/(\w+)", (FOLDER / "compose.yaml").read_text()))
    assert used == made


def test_what_is_waited_for_says_whether_it_is_well() -> None:
    for name, said in COMPOSE["services"].items():
        for other, condition in said.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}, name
            assert other in OURS or "healthcheck" in COMPOSE["services"][other]


def test_the_page_makes_every_secret_that_compose_wants() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    wanted = {name for name, kind, _ in VARIABLE.findall(text) if kind == "?"}
    page = (FOLDER / "README.md").read_text()
    (script,) = re.findall(r"^```sh\n(.*?\.env\n.*?)^```", page, re.MULTILINE | re.DOTALL)
    made = script.partition("docker compose")[0]
    lines = subprocess.run(
        ["sh", "-euc", made.replace("> docker/.env", "")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    given = dict(line.split("=", 1) for line in lines)
    assert wanted <= set(given) == set(SECRETS)
    assert all(re.fullmatch(r"[0-9a-f]{48}", value) for value in given.values())  # fit for a URL
    assert len(set(given.values())) == len(given)
    described = set(re.findall(r"`([A-Z_]+)`", page))
    assert {name for name, _, _ in VARIABLE.findall(text)} <= described | set(SECRETS)


def test_a_client_with_compose_takes_the_file() -> None:
    """Where there is one: a client without its plug-in knows no such command, and neither do we."""
    docker = shutil.which("docker")
    known = docker and subprocess.run(
        [docker, "compose", "version"], capture_output=True, check=False
    )
    if not docker or not known or known.returncode:
        assert COMPOSE["services"]  # it was read as YAML; the rest of this file says what it holds
        return
    subprocess.run(
        [docker, "compose", "-f", FOLDER / "compose.yaml", "--profile", "*", "config", "--quiet"],
        env={"PATH": "/usr/bin:/bin", **dict.fromkeys(SECRETS, "x")},
        check=True,
    )
