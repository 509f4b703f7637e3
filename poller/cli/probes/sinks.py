"""Checks of sinks: they change nothing, and post nothing unless a test is requested."""

import os
import secrets
import socket
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final
from urllib.parse import urlsplit

import anyio
from anyio import to_thread

from poller.build import make_sink
from poller.cli.probes.report import Finding
from poller.clock import wall_clock
from poller.http.failures import describe_failure
from poller.http.route import find_route
from poller.os_errors import needs_change
from poller.settings import FileSinkSettings, SinkSettings, StdoutSinkSettings, WebhookSinkSettings
from poller.sinks.base import (
    OutgoingEvent,
    Sink,
    SinkHeld,
    SinkOutcome,
    SinkUnavailable,
    SinkVerdict,
)
from poller.sinks.journal import Disk, Journal
from poller.text import dump_json, format_instant
from poller.tracking.event import event_id

TEST_EVENT: Final = "poller.test"
"""The type of the event that tests a webhook."""


async def probe_sink(
    name: str, sink: SinkSettings, *, public_url: str, send: bool, store_is_free: bool
) -> list[Finding]:
    """Check one sink. `send` posts a test event, or a test message, to a webhook.

    `store_is_free` means that no daemon is running: then the sink's file should not be locked.
    """
    subject = f"sinks.{name}"
    match sink:
        case StdoutSinkSettings():
            return [Finding.ok(subject, "standard output")]
        case FileSinkSettings(path=path):
            return [await _probe_file(subject, path, store_is_free=store_is_free)]
        case WebhookSinkSettings():
            unsigned = [_unsigned(subject, name)] if sink.is_unsigned else []
            made = make_sink(name, sink, public_url)
            return [await _probe_webhook(subject, made, sink, send=send), *unsigned]


async def _probe_file(subject: str, path: Path, *, store_is_free: bool) -> Finding:
    try:
        exists = await to_thread.run_sync(_check_file, path)
    except SinkHeld as error:
        if store_is_free:
            return Finding.warning(
                subject, f"{error.message}, and no daemon uses this store", fix=error.hint
            )
        return Finding.ok(subject, f"{path}: in use by the running daemon")
    except SinkUnavailable as error:
        return Finding.problem(subject, error.message, fix=error.hint, is_usage=error.needs_change)
    return Finding.ok(
        subject, f"{path}: {'writable' if exists else 'does not exist yet, can be created'}"
    )


class _ReadOnlyDisk(Disk):
    """A disk that the journal does not change."""

    def sync(self, fd: int) -> None:
        """Do nothing."""

    def truncate(self, fd: int, length: int) -> None:
        """Do nothing."""


def _check_file(path: Path) -> bool:
    """Return whether the file exists; raise what the sink would raise."""
    directory = Path(os.path.realpath(path)).parent
    # unlike the methods of Path, these return False if a parent directory may not be read
    if os.path.exists(path) or not os.path.isdir(directory):  # noqa: PTH110, PTH112 - see above
        journal = Journal(path.absolute(), recall_lines=1, disk=_ReadOnlyDisk())
        try:
            journal.hold()
        finally:
            journal.close()
        return True
    try:
        with TemporaryFile(dir=directory):
            return False
    except OSError as error:
        raise SinkUnavailable(
            f"{path} cannot be created: {error.strerror}",
            f"let the user that runs the poller write to {directory}, or set another path",
            needs_change=needs_change(error),
        ) from error


def _unsigned(subject: str, name: str) -> Finding:
    return Finding.warning(
        subject,
        "requests are not signed, so anybody can forge events",
        fix=f"set POLLER_SINKS__{name.upper()}__SECRET",
    )


async def _probe_webhook(
    subject: str, webhook: Sink, sink: WebhookSinkSettings, *, send: bool
) -> Finding:
    try:
        return await (_post(subject, webhook, sink) if send else _resolve(subject, webhook, sink))
    except SinkUnavailable as error:
        return Finding.problem(subject, error.message, fix=error.hint, is_usage=error.needs_change)


async def _post(subject: str, webhook: Sink, sink: WebhookSinkSettings) -> Finding:
    try:
        await webhook.start()
        (outcome,) = await webhook.deliver([_test_event(webhook.name)])
    finally:
        await webhook.aclose()
    if outcome.verdict is SinkVerdict.DELIVERED:
        place = _place(sink)
        what = "test message" if sink.is_for_people else f"{TEST_EVENT} event"
        return Finding.ok(subject, f"{place} answered {outcome.status} to a {what}")
    return _refused(subject, outcome)


def _refused(subject: str, outcome: SinkOutcome) -> Finding:
    """Report a failed delivery; an error without an answer of the receiver ends with its fix."""
    error = str(outcome.error)
    message, found, fix = error.rpartition("; ")
    if found and outcome.status in {None, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED}:
        return Finding.problem(subject, message, fix=fix)
    return Finding.problem(subject, error, fix="see what the receiver logged")


async def _resolve(subject: str, webhook: Sink, sink: WebhookSinkSettings) -> Finding:
    try:
        await webhook.start()  # reads the environment's proxies and certificates
    finally:
        await webhook.aclose()
    place, parts = _place(sink), urlsplit(sink.url)
    route = find_route(sink.url, os.environ)
    if route.proxy is not None:
        return Finding.ok(subject, f"{place}, through {route.proxy}; --send posts a test event")
    try:
        await anyio.getaddrinfo(str(parts.hostname), parts.port, type=socket.SOCK_STREAM)
    except OSError as error:
        return Finding.problem(
            subject,
            describe_failure(error, route).happened,
            fix=f"check the host in {subject}.url, and DNS",
        )
    return Finding.ok(subject, f"{place}: the host name resolves; --send posts a test event")


def _place(sink: WebhookSinkSettings) -> str:
    """Return the origin of a webhook's URL: the path may be a secret."""
    parts = urlsplit(sink.url)
    return f"{parts.scheme}://{parts.netloc}"


def _test_event(sink: str) -> OutgoingEvent:
    now = wall_clock()
    number = event_id(now, secrets.randbits(74))
    event = {
        "specversion": "1.0",
        "id": number,
        "source": "urn:comms-poller:check",
        "type": TEST_EVENT,
        "subject": sink,
        "time": format_instant(now),
        "datacontenttype": "application/json",
        "data": {"sink": sink, "note": "sent by `poller check --send`; it is about no operation"},
    }
    return OutgoingEvent(id=number, body=dump_json(event))
