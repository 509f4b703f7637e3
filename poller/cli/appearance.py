"""What a daemon shows on standard output: lines for people on a terminal, NDJSON for programs."""

import sys
import webbrowser
from collections.abc import MutableMapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import structlog
from anyio import to_thread
from structlog import DropEvent

from poller.addresses import join_host
from poller.build import shows_every_event
from poller.cli.logs import configure_logs
from poller.settings import Settings
from poller.sinks.stdout import LineMaker, json_line

if TYPE_CHECKING:  # rich is slow to import, and a daemon without a terminal needs none of it
    from poller.cli.screen import Screen

log = structlog.get_logger()

_SHOWN: Final = frozenset({"event.recorded", "alert.fired"})
"""Log events that only repeat what a line of an event says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """How events are shown: on `screen` for people, or for programs if that is None.

    `line` renders one event.
    """

    screen: "Screen | None" = None
    line: LineMaker = json_line

    @classmethod
    def of_stdout(cls, *, json_output: bool) -> Self:
        """Choose lines for people on a terminal; elsewhere, and with `json_output`, NDJSON."""
        if json_output or not sys.stdout.isatty():
            return cls()
        from poller.cli.screen import Screen, line_maker  # noqa: PLC0415 - as above

        screen = Screen(sys.stdout.fileno())
        return cls(screen=screen, line=line_maker(screen))

    def configure_logs(self, settings: Settings) -> None:
        """Set up the log, without lines that repeat events which the same terminal shows."""
        repeats = self.screen is not None and sys.stderr.isatty() and shows_every_event(settings)
        quiet = repeats and settings.log.level != "debug"
        only = _without_events if quiet else None
        configure_logs(level=settings.log.level, form=settings.log.format, only=only)

    async def show_page(self, address: str | None, *, wants_open: bool) -> None:
        """Print the URL of the page, and open it in a browser if `wants_open`; never raises.

        `address` is where the control API listens; a browser reaches the page only by TCP.
        """
        url = page_url(address)
        if url is not None and self.screen is not None:
            from rich.text import Text  # noqa: PLC0415 - as above

            await self.screen.say(Text.assemble("Page: ", (url, "cyan")))
        if wants_open:
            await _open(url)


def page_url(address: str | None) -> str | None:
    """Return the URL of the page for a browser on this machine; None without a TCP listener."""
    parts = urlsplit(address or "")
    if parts.scheme != "http" or parts.hostname is None:
        return None
    ip = ip_address(parts.hostname)
    if not ip.is_unspecified:
        return f"{address}/"
    return f"http://{join_host('::1' if ip.version == 6 else '127.0.0.1', parts.port)}/"  # noqa: PLR2004


def _without_events(_: object, __: str, fields: MutableMapping[str, Any]) -> Any:  # noqa: ANN401 - as structlog has it
    if fields["event"] in _SHOWN:
        raise DropEvent
    return fields


async def _open(url: str | None) -> None:
    if url is None:
        hint = "set server.listen to a TCP address, such as 127.0.0.1:8470"
        log.warning("page.not_opened", error="the control API listens on no TCP port", hint=hint)
        return
    try:
        # in a thread: it may start a program, and wait for it
        is_open = await to_thread.run_sync(webbrowser.open, url, abandon_on_cancel=True)
    except Exception as error:  # noqa: BLE001 - $BROWSER may name any program
        log.warning("page.not_opened", error=str(error), hint=f"open {url} in a browser")
        return
    if not is_open:
        hint = f"open {url} in a browser on a machine that reaches it"
        log.warning("page.not_opened", error="no browser was found here", hint=hint)
