"""The wall clock: a default that tests replace."""

from datetime import UTC, datetime


def wall_clock() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)
