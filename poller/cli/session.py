"""Connects a command to the daemon: its address, its token, and the work to do."""

import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import anyio

from poller.control.address import Address, listening_address, named_address
from poller.control.client import ControlClient
from poller.control.errors import BadAddress
from poller.settings import ServerSettings, Settings, SettingsLoader

Result = TypeVar("Result")


class Target:
    """The daemon that a command talks to: from `--url`, and from the settings."""

    def __init__(
        self, url: str | None, config: Path | None = None, overrides: Sequence[str] | None = None
    ) -> None:
        self._url = url
        self._loader = SettingsLoader(config, overrides)

    def server(self) -> ServerSettings:
        """Read where the daemon listens, and its token: all that a client needs.

        :raises SettingsError: where they cannot be used.
        """
        return self.settings("server", "log").server

    def settings(self, *sections: str) -> Settings:
        """Read these sections of the settings; the others have their defaults.

        :raises SettingsError: where they cannot be used.
        """
        return self._loader.load(*sections).settings

    def named(self) -> Address | None:
        """Return the address that `--url` or POLLER_URL names; None where neither is set.

        :raises BadAddress: where it cannot be used.
        """
        return named_address(self._url, os.environ)

    def address(self, server: ServerSettings) -> Address:
        """Return the address of the daemon.

        :raises BadAddress: where it is not given or cannot be used.
        """
        found = self.named() or listening_address(server.listen)
        if found is None:
            raise BadAddress(
                "server.listen is empty, so the daemon listens nowhere; "
                "set it, or name where the daemon listens with --url"
            )
        return found

    def likely(self, server: ServerSettings) -> Address | None:
        """Return the address of a daemon with these settings; None if there is no usable one."""
        try:
            return listening_address(server.listen)
        except BadAddress:
            return None


def with_daemon(target: Target, work: Callable[[ControlClient], Awaitable[Result]]) -> Result:
    """Call `work` with a client of the daemon, and return its result.

    :raises SettingsError: where the settings cannot be used.
    :raises ControlError: where the daemon does not answer, or refuses.
    """
    server = target.server()
    address = target.address(server)

    async def do() -> Result:
        async with ControlClient(address, token=server.token) as client:
            return await work(client)

    return anyio.run(do)
