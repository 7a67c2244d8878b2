"""Tests that `scripts/setup` installs the versions of the lock files, although newer ones exist."""

import hashlib
import os
import shutil
import subprocess
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def locked(name: str) -> Mapping[str, Requirement]:
    """Returns the packages of a lock file that this machine installs, by name."""
    lock_lines = (ROOT / "requirements" / f"{name}.lock").read_text().splitlines()
    packages = [Requirement(line.rstrip("\\ ")) for line in lock_lines if line[:1].isalnum()]
    return {canonicalize_name(each.name): each for each in packages if each.marker is None or each.marker.evaluate()}


def declared(groups: Iterable[str]) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    texts = [
        *project["project"]["dependencies"],
        *(text for group in groups for text in project["dependency-groups"][group]),
    ]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize(("name", "groups"), [("run", ()), ("test", ("test",))])
def test_lock_satisfies_every_requirement_of_its_packages(name: str, groups: tuple[str, ...]) -> None:
    lock = locked(name)
    checked: set[tuple[str, frozenset[str]]] = set()
    waiting = [(each, frozenset({""})) for each in declared(groups)]
    while waiting:
        needed, extras = waiting.pop()
        if needed.marker is not None and not any(needed.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        package = lock[canonicalize_name(needed.name)]
        (pin,) = package.specifier
        assert needed.specifier.contains(pin.version, prereleases=True), f"{needed} is not satisfied by {package}"
        if (key := (canonicalize_name(needed.name), frozenset({"", *needed.extras}))) not in checked:
            checked.add(key)
            waiting += [(Requirement(text), key[1]) for text in distribution(needed.name).requires or ()]
    assert {package for package, _ in checked} == lock.keys()


class Registry:
    """A package index in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = folder.as_uri()

    def release(self, name: str, version: str, *requires: str) -> str:
        """Publishes a version of a package, and returns the hash of its wheel."""
        page = self._folder / name
        page.mkdir(parents=True, exist_ok=True)
        wheel, info = page / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
        metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", "Provides-Extra: more"]
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(
                f"{info}/METADATA", "\n".join([*metadata, *(f"Requires-Dist: {each}" for each in requires)])
            )
            archive.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{info}/RECORD", "")
        links = "".join(f'<a href="{each.name}">{each.name}</a>' for each in sorted(page.glob("*.whl")))
        (page / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")
        return hashlib.sha256(wheel.read_bytes()).hexdigest()


def run_setup(checkout: Path, registry: Registry) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"PIP_INDEX_URL": registry.url, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"}
    subprocess.run([checkout / "scripts" / "setup"], env=environment, check=True, timeout=120)


def installed(checkout: Path) -> dict[str, str]:
    folder = next((checkout / ".venv" / "lib").glob("python3*")) / "site-packages"
    found: Iterable[Distribution] = Distribution.discover(path=[str(folder)])
    return {each.name: each.version for each in found if each.name not in ("pip", "setuptools")}


def test_setup_installs_locked_versions_although_newer_ones_exist(tmp_path: Path) -> None:
    registry, checkout = Registry(tmp_path / "registry"), tmp_path / "checkout"
    # The case that failed once: a locked package requires an extra of another one, without a version of its own.
    hashes = {"uses": registry.release("uses", "1.0", "given[more]>=1.0"), "given": registry.release("given", "1.0")}
    registry.release("uses", "1.1")
    registry.release("given", "1.1")
    for folder in ("scripts", "requirements"):
        (checkout / folder).mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "setup", checkout / "scripts")
    requirements = [f"{name}==1.0 --hash=sha256:{digest}\n" for name, digest in hashes.items()]
    (checkout / "requirements" / "run.lock").write_text("".join(requirements))
    run_setup(checkout, registry)
    assert installed(checkout) == {"uses": "1.0", "given": "1.0"}
