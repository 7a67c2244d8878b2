"""Containers of an image, run with Docker or Podman as a strict platform runs them."""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

ENGINES = ("docker", "podman")
START_S = 60
"""Seconds that a container may take to answer or to end."""
LOCKED = ("--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges:true", "--tmpfs", "/tmp")


def run(*command: str) -> str:
    """Runs a command that must succeed; returns its output."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stdout + done.stderr)
    return done.stdout.strip()


def find_engine() -> str:
    """Returns the first program that runs containers here. Docker's client may be there without a server."""
    for name in ENGINES:
        try:
            if subprocess.run([name, "info"], capture_output=True).returncode == 0:
                return name
        except FileNotFoundError:
            continue
    raise AssertionError(f"none of {', '.join(ENGINES)} runs containers here")


class Container:
    """A container in the network of this machine."""

    def __init__(self, engine: str, name: str) -> None:
        self._engine = engine
        self._id = name

    def execute(self, *command: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Executes a command in the container."""
        variables = [f"--env={name}={value}" for name, value in (environment or {}).items()]
        return subprocess.run([self._engine, "exec", *variables, self._id, *command], capture_output=True, text=True)

    def inspect(self) -> Any:
        """Returns what the engine knows of the container."""
        return json.loads(run(self._engine, "inspect", self._id))[0]

    def log(self) -> str:
        """Returns what the container printed."""
        done = subprocess.run([self._engine, "logs", self._id], capture_output=True, text=True)
        return done.stdout + done.stderr

    def stop(self, seconds: int) -> int:
        """Sends SIGTERM, after so many seconds SIGKILL; returns the exit code."""
        run(self._engine, "stop", "--time", str(seconds), self._id)
        return self.wait()

    def terminate(self) -> None:
        """Sends SIGTERM."""
        run(self._engine, "kill", "--signal", "TERM", self._id)

    def wait(self) -> int:
        """Waits for the end of the container, and returns its exit code."""
        return int(run("timeout", str(START_S), self._engine, "wait", self._id))

    def wait_until_ready(self, url: str) -> None:
        """Waits until the service in the container is ready."""
        until = time.monotonic() + START_S
        while not _is_ready(url):
            assert self.inspect()["State"]["Running"], self.log()
            assert time.monotonic() < until, self.log()
            time.sleep(0.1)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").is_success
    except httpx.TransportError:
        return False


class Engine:
    """Docker or Podman, with the containers and volumes of one test."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._containers: list[str] = []
        self._volumes: set[str] = set()

    def start(
        self,
        image: str,
        *command: str,
        environment: Mapping[str, str],
        volume: str,
        options: Sequence[str] = LOCKED,
    ) -> Container:
        """Starts a container with a volume at /data, by default with nothing else that it can write or may do."""
        self._volumes.add(volume)
        variables = [f"--env={name}={value}" for name, value in environment.items()]
        place = ("--detach", "--network", "host", "--volume", f"{volume}:/data")
        name = run(self._name, "run", *place, *options, *variables, image, *command)
        self._containers.append(name)
        return Container(self._name, name)

    def remove(self) -> None:
        """Removes all containers and volumes."""
        if self._containers:
            run(self._name, "rm", "--force", *self._containers)
        if self._volumes:
            run(self._name, "volume", "rm", *self._volumes)


@contextmanager
def container_engine() -> Iterator[Engine]:
    """Yields the engine of this machine, and removes afterwards what it was used for."""
    engine = Engine(find_engine())
    try:
        yield engine
    finally:
        engine.remove()
