"""The types of columns: conversion between Python values and what every database can store."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, Dialect, Text, TypeDecorator

from poller.text import dump_json

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


# The signatures below are SQLAlchemy's; both types are the same for every dialect.
# ruff: noqa: ARG002 - hence an argument that no method reads


class Instant(TypeDecorator[datetime]):
    """An aware `datetime`, stored as microseconds since 1970 UTC."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Store an instant."""
        return None if value is None else microseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Read an instant."""
        return None if value is None else instant(value)


def microseconds(instant: datetime) -> int:
    """Count the microseconds since 1970 UTC."""
    return (instant - _EPOCH) // _MICROSECOND


def instant(count: int) -> datetime:
    """Return the instant that is `count` microseconds after 1970 UTC."""
    return _EPOCH + count * _MICROSECOND


class Document(TypeDecorator[Any]):
    """Anything JSON, stored as text that is always valid UTF-8."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:
        """Store a document."""
        return None if value is None else dump_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> object:
        """Read a document."""
        return None if value is None else json.loads(value)


class Sentence(TypeDecorator[str]):
    """The text of an error. Characters that no database can store are written as escapes."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Store a sentence."""
        if value is None:
            return None
        # file names may contain bytes that are not UTF-8; PostgreSQL refuses NUL
        return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
