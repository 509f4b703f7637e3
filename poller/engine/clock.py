"""The wall clock, as a port: tests and freezegun bring their own."""

from datetime import UTC, datetime

__all__ = ["wall_clock"]


def wall_clock() -> datetime:
    """Tell the time in UTC."""
    return datetime.now(UTC)
