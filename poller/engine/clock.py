"""The wall clock, as a port: tests and freezegun bring their own."""

from datetime import UTC, datetime


def wall_clock() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)
