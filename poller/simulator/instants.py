"""Instants as the API writes and reads them: RFC 3339, UTC, milliseconds, `Z`."""

from datetime import UTC, datetime

__all__ = ["parse", "render", "to_millisecond"]


def to_millisecond(instant: datetime) -> datetime:
    """Drop what `render` does not show, so that a rendered instant equals the stored one."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def render(instant: datetime) -> str:
    """Write an aware instant."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse(text: str, *, naive_is_utc: bool = False) -> datetime:
    """Read an instant as UTC.

    :raises ValueError: if it is none, or has no offset and `naive_is_utc` is false.
    """
    instant = datetime.fromisoformat(text.upper())
    if instant.tzinfo is None:
        if not naive_is_utc:
            raise ValueError("an offset is missing")
        instant = instant.replace(tzinfo=UTC)
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("out of range") from error
