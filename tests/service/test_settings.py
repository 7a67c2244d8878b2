"""Settings: their defaults, their documentation, and the errors of invalid values."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from domain import ids
from domain.access_token import AccessToken
from domain.errors import TokenKeysMissingError
from service.keys.key_files import KeyFileError
from service.keys.token_keys import load_token_keys
from service.settings import Settings

TOKEN = AccessToken(
    id=ids.new_uuid(),
    key_id=ids.new_uuid(),
    filter_text="{}",
    payloads=False,
    expires_at=datetime(2026, 1, 1, tzinfo=UTC),
)
SETTINGS_PAGE = Path(__file__).parents[2] / "docs" / "running.md"


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("FLOWRUNS_")]:
        monkeypatch.delenv(name)


def test_defaults_serve_only_this_machine_from_an_embedded_database() -> None:
    settings = Settings()
    assert settings.database_url == "sqlite+aiosqlite:///.flowruns/flowruns.db"
    assert settings.database_file == Path(".flowruns/flowruns.db")
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.bootstrap_key is None
    assert not settings.http_allow_private
    assert settings.seed_demo
    assert settings.action_modules == []


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    assert f"FLOWRUNS_{name.upper()}" in SETTINGS_PAGE.read_text()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_description(name: str) -> None:
    assert Settings.model_fields[name].description


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWRUNS_PORT", "9000")
    monkeypatch.setenv("FLOWRUNS_ACTIONS", "shop.actions, , billing ")
    monkeypatch.setenv("FLOWRUNS_DATABASE_URL", "postgresql+asyncpg://u:p@db/flowruns")
    monkeypatch.setenv("FLOWRUNS_SEED_DEMO", "false")
    settings = Settings()
    assert settings.port == 9000
    assert settings.action_modules == ["shop.actions", "billing"]
    assert settings.database_file is None
    assert not settings.seed_demo


@pytest.mark.parametrize("url", ["sqlite:///x.db", "sqlite+aiosqlite:///x.db"])
def test_either_form_of_an_sqlite_url_names_its_file(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("FLOWRUNS_DATABASE_URL", url)
    assert Settings().database_file == Path("x.db")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_every_form_of_a_postgresql_url_is_accepted(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("FLOWRUNS_DATABASE_URL", f"{scheme}://u:p@h1:1,h2:2/name?sslmode=require")
    assert Settings().database_file is None


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_bootstrap_key_is_masked() -> None:
    assert "not-to-be-shown" not in repr(Settings(bootstrap_key="not-to-be-shown-at-all"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://x"),
        ("DATABASE_URL", "mssql+pyodbc://x/y"),
        ("DATABASE_URL", "postgres://x:y/z"),
        ("DATABASE_URL", "postgres://x/y?sslmode=maybe"),
        ("DATABASE_URL", "nonsense"),
        ("PORT", "-1"),
        ("PORT", "65536"),
        ("PORT", "x"),
        ("BOOTSTRAP_KEY", "short"),
        ("TOKEN_KEYS", "of thirty-two characters or more,short"),
        ("HTTP_ALLOW_PRIVATE", "maybe"),
        ("WORKER_CONCURRENCY", "0"),
        ("WORKER_LEASE_SECONDS", "0"),
        ("SHUTDOWN_GRACE_SECONDS", "-1"),
        ("DATABASE_POOL_SIZE", "1"),
        ("MAX_BODY_BYTES", "1"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_invalid_value_is_rejected(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"FLOWRUNS_{name}", value)
    with pytest.raises(ValidationError) as error:
        Settings()
    (detail,) = error.value.errors()
    assert detail["loc"] == (name.lower(),)


def test_signing_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    settings = Settings(database_url=f"sqlite:///{tmp_path / 'runs.db'}")
    text = load_token_keys(settings).sign(TOKEN)
    assert load_token_keys(settings).verified(text) == TOKEN
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    old, new = path.read_text().strip(), "a new key of thirty-two characters"
    rotated = Settings(database_url=settings.database_url, token_keys=f"{new}, {old}")
    assert load_token_keys(rotated).verified(text) == TOKEN
    assert load_token_keys(settings).verified(load_token_keys(rotated).sign(TOKEN)) is None
    path.write_text("short")
    with pytest.raises(KeyFileError, match="at least 32 characters"):
        load_token_keys(settings)


def test_without_a_file_or_a_key_nothing_is_signed() -> None:
    keys = load_token_keys(Settings(database_url="postgresql://host/db"))
    with pytest.raises(TokenKeysMissingError):
        keys.sign(TOKEN)
    assert keys.verified("") is None
