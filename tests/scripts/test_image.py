"""The image and compose.yaml: what they name exists, and the code of the image needs no other part of the project.

Building the image needs a builder and the base images; where there is one, `docker build .` is the whole test.
"""

import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from service.cli import main
from service.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SETTINGS = {f"FLOWRUNS_{name.upper()}" for name in Settings.model_fields}
STAGES = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]


def copied(stage: str) -> list[tuple[str, str]]:
    """Returns source and target of what a stage copies from the checkout."""
    instructions = re.findall(r"^COPY (?!--from)(.+)$", stage, flags=re.MULTILINE)
    return [(source, line.split()[-1]) for line in instructions for source in line.split()[:-1]]


def is_sent(path: str) -> bool:
    """Returns True if .dockerignore lets a path into the build: the last pattern that fits counts."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#"):
            parts = Path(path).parts
            prefixes = ["/".join(parts[: count + 1]) for count in range(len(parts))]
            if any(fnmatch(prefix, pattern.removeprefix("**/")) for prefix in prefixes):
                sent = line.startswith("!")
    return sent


def test_each_file_that_the_image_copies_is_in_the_checkout_and_sent_to_the_builder() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    sources = [source for stage in STAGES for source, _ in copied(stage)]
    assert {"web", "service", "requirements/run.lock", "scripts/build-web"} <= set(sources)
    for source in sources:
        below = [path for path in tracked if path == source or path.startswith(f"{source}/")]
        assert below, source
        assert all(is_sent(path) for path in below), source
    for path in (
        "tests/conftest.py",
        ".git/config",
        ".flowruns/admin.key",
        "web/node_modules/a",
        "web/dist/index.html",
    ):
        assert not is_sent(path)


def test_code_of_the_image_imports_nothing_of_the_project_that_is_not_copied() -> None:
    _, packages, final = STAGES
    folders = {target for source, target in copied(packages) if (ROOT / source).is_dir()}
    of_the_project = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert "service" in folders < of_the_project
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        roots = re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), flags=re.MULTILINE)
        assert set(roots) & of_the_project <= folders, path
    assert "COPY --from=packages /app /app" in final
    assert "COPY --from=pages /build/web/dist web/dist" in final
    assert "scripts/build-web" in STAGES[0]


def test_image_is_not_run_by_root_and_checks_its_health() -> None:
    final = STAGES[-1]
    assert re.findall(r"^USER (.+)$", final, flags=re.MULTILINE) == ["10001:10001"]
    assert "/healthz" in final.partition("HEALTHCHECK")[2]
    for stage in STAGES[:2]:
        assert "--require-hashes" in stage or "npm ci" in stage


def test_settings_and_commands_that_image_and_compose_name_exist() -> None:
    named = set(re.findall(r"FLOWRUNS_[A-Z_]+", DOCKERFILE + (ROOT / "compose.yaml").read_text()))
    assert named <= SETTINGS
    assert named >= {"FLOWRUNS_DATABASE_URL", "FLOWRUNS_SECRET_KEYS", "FLOWRUNS_TOKEN_KEYS"}
    services = COMPOSE["services"]
    assert set(services) == {"database", "migrate", "api", "worker"}
    for name in ("migrate", "api", "worker"):
        assert services[name]["command"] == [name]
        assert name in main.commands
        assert services[name]["image"] == "flow-runs"
        assert set(services[name]["environment"]) <= SETTINGS
    values = {name: str(value) for name, value in services["api"]["environment"].items() if "${" not in str(value)}
    read = Settings.model_validate({name.removeprefix("FLOWRUNS_").lower(): value for name, value in values.items()})
    assert read.files_url.startswith("/data/")
    for service in services.values():
        for volume in service["volumes"]:
            assert volume.partition(":")[0] in COMPOSE["volumes"]
        for needed in service.get("depends_on", ()):
            assert needed in services
