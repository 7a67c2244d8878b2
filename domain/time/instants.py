"""Instants as text: reads the forms that people and programs write, and writes UTC."""

from datetime import UTC, datetime, tzinfo


def parse(text: str, zone: tzinfo = UTC) -> datetime:
    """Returns the instant that `text` names in ISO 8601. Without an offset, it is a local time of `zone`.

    Raises:
        ValueError: `text` is not an instant.
    """
    instant = datetime.fromisoformat(text.strip())
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=zone)


def text(instant: datetime) -> str:
    """Returns `instant` in UTC, in its shortest form: `2026-01-31T12:00:00Z`."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
