"""Notifications to the service manager: the life cycle, a status line, and the watchdog.

The protocol is that of sd_notify(3): `VARIABLE=value` lines in one datagram to `$NOTIFY_SOCKET`.
The watchdog has no timer of its own: the heartbeats of the loops feed it, and only while all of
them beat. When one hangs, the watchdog is no longer fed and the manager restarts the daemon.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, Self

import anyio
import structlog

from poller.clock import wall_clock
from poller.engine.daemon import Daemon
from poller.engine.status import Degraded
from poller.engine.supervision import Heartbeats, attempt
from poller.store.errors import StoreError
from poller.store.reports import Summary
from poller.text import counted

log = structlog.get_logger()

_STATUS_EVERY: Final = 10.0
_TODAY: Final = timedelta(hours=12)


class Notifier:
    """Reports the state of the daemon to the service manager; does nothing without one.

    `send` sends one datagram and returns whether that worked. `watchdog` is the manager's timeout
    in seconds, None without a watchdog. It is fed twice in that time, so a loop counts as hanging
    after half of it.
    """

    def __init__(
        self,
        send: Callable[[str], bool] | None = None,
        *,
        watchdog: float | None = None,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self._send = send
        self._patience = None if watchdog is None else watchdog / 2
        self._clock = clock
        self._fed_at = float("-inf")
        self._is_ready = False
        self._is_stopping = False
        self._status = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`, as systemd sets them."""
        address = environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return cls()
        return cls(_sender(address), watchdog=_watchdog(environ))

    def follow(self, heartbeats: Heartbeats) -> None:
        """Report ready once every loop has beaten, and feed the watchdog while all of them do."""
        if self._send is not None:
            heartbeats.listen(lambda: self._beaten(heartbeats))

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Report that the settings are being read again, and at the end that it is done."""
        if self._is_ready and not self._is_stopping:
            # the manager needs this time to know which reload a READY=1 ends
            now = time.monotonic_ns() // 1000
            self._notify(RELOADING=1, MONOTONIC_USEC=now, STATUS="reloading the settings")
        yield
        if self._is_ready and not self._is_stopping:
            self._notify(READY=1, STATUS=self._status)

    def stopping(self) -> None:
        """Report that the daemon stops. Idempotent."""
        if not self._is_stopping:
            self._is_stopping = True
            self._notify(
                STOPPING=1, STATUS="stopping: requests and deliveries in progress are completed"
            )

    async def report_status(self, daemon: Daemon) -> None:
        """Report the state of the daemon in a sentence every few seconds, until cancelled."""
        while self._send is not None and not self._is_stopping:
            await attempt(partial(self._report_status, daemon), name="status")
            await anyio.sleep(_STATUS_EVERY)

    async def _report_status(self, daemon: Daemon) -> None:
        try:
            status = sentence(await daemon.summary(), await daemon.degraded(), now=wall_clock())
        except StoreError as error:
            status = f"the store cannot be used: {error}"
        if status != self._status and not self._is_stopping:
            self._status = status
            self._notify(STATUS=status)

    def _beaten(self, heartbeats: Heartbeats) -> None:
        """React to a heartbeat. This runs in the loop that beats, hundreds of times a second."""
        if not self._is_ready and all(age is not None for age in heartbeats.ages.values()):
            self._is_ready = self._notify(READY=1)
        if self._patience is None or self._clock() - self._fed_at < self._patience / 2:
            return
        if not heartbeats.silent(self._patience) and self._notify(WATCHDOG=1):
            self._fed_at = self._clock()

    def _notify(self, **fields: object) -> bool:
        return self._send is not None and self._send(message(**fields))


def message(**fields: object) -> str:
    """Write one datagram: a `VARIABLE=value` line for each field, its value on that line."""
    return "".join(f"{name}={' '.join(str(value).split())}\n" for name, value in fields.items())


def sentence(summary: Summary, degraded: Sequence[Degraded], *, now: datetime) -> str:
    """Describe the state of the daemon in a sentence, as `systemctl status` shows it."""
    parts = [
        f"watching {counted(summary.watched, 'operation')}",
        f"{counted(summary.waiting, 'delivery', 'deliveries')} waiting",
    ]
    if summary.dead:
        parts.append(counted(summary.dead, "dead letter"))
    if summary.lost:
        parts.append(f"{counted(summary.lost, 'operation')} lost")
    parts += [f"trouble with {each.what} since {_moment(each.since, now)}" for each in degraded]
    return ", ".join(parts)


def _moment(moment: datetime, now: datetime) -> str:
    form = "%H:%M UTC" if now - moment < _TODAY else "%Y-%m-%d %H:%M UTC"
    return moment.astimezone(UTC).strftime(form)


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Return the watchdog's timeout in seconds, None if it is off or meant for another process."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0 or pid not in {"", str(os.getpid())}:
        return None
    return int(usec) / 1_000_000


def _sender(address: str) -> Callable[[str], bool]:
    # a leading @ stands for the zero byte of an abstract name
    place = "\0" + address[1:] if address.startswith("@") else address
    was_sent = True

    def send(text: str) -> bool:
        nonlocal was_sent
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as outgoing:
                # a manager that does not read must not stop the daemon
                outgoing.setblocking(False)
                outgoing.sendto(text.encode(), place)
        except OSError as error:
            if was_sent:
                log.warning("notify.failed", socket=address, error=str(error))
            was_sent = False
        else:
            was_sent = True
        return was_sent

    return send
