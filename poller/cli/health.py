"""`poller health`: is the daemon healthy? Container health checks run it every few seconds.

With `--url` or `POLLER_URL`, which containers set, it reads no settings and imports little.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from poller.cli.stdout import discard_output
from poller.control.address import VARIABLE, Address, listening_address, named_address
from poller.control.errors import BadAddress, ControlError, NoDaemon, Refused
from poller.control.probe import ask

_TIMEOUT: Final = 5.0
_OK: Final = 200
_LISTEN: Final = ("server.listen", "server.observe")
_STATES: Final = frozenset({"ok", "hanging", "ready", "degraded", "unready"})


def quick_health(arguments: Sequence[str]) -> int | None:
    """Run `poller health` without loading the command line; returns the exit code.

    Returns None if it cannot: there are other options, or the address is only in the settings.
    """
    url, flags = _url_among(arguments)
    if not set(flags) <= {"--ready", "--json"}:
        return None
    if url is None and not os.environ.get(VARIABLE):
        return None
    try:
        return check_health(ready="--ready" in flags, json_output="--json" in flags, url=url)
    except ControlError as error:
        sys.stderr.write(f"poller: {error}\n")
        return 2 if error.is_usage else 1


def _url_among(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Separate `--url URL` or `--url=URL` from the other arguments."""
    url, rest = None, list(arguments)
    for number, argument in enumerate(rest):
        if argument.startswith("--url="):
            url = rest.pop(number).removeprefix("--url=")
            break
        if argument == "--url" and number + 1 < len(rest):
            _, url = rest.pop(number), rest.pop(number)
            break
    return url, rest


def check_health(
    *,
    ready: bool,
    json_output: bool,
    url: str | None = None,
    config: Path | None = None,
    overrides: Sequence[str] = (),
) -> int:
    """Check whether the loops run, with `ready` whether a registration can be acknowledged.

    Prints the answer and what is degraded. Returns 0 if the answer is yes, else 1, whether or not
    anything is degraded.

    :raises SettingsError: where settings are needed and cannot be used.
    :raises ControlError: where the daemon does not answer, or does not report its state.
    """
    address = _find(url, config, overrides)
    status, document = ask(address, "/readyz" if ready else "/healthz", timeout=_TIMEOUT)
    if document.get("status") not in _STATES:
        refused = Refused.from_document(status, document)
        raise refused or NoDaemon(str(address), f"it answered {status} without a known state")
    if not ready and status == _OK:
        document = {**document, **_trouble(address)}
    text = json.dumps(document, separators=(",", ":")) if json_output else _text(document)
    is_well = status == _OK
    try:
        (sys.stdout if is_well or json_output else sys.stderr).write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()  # the exit code is the answer
    return 0 if is_well else 1


def _find(url: str | None, config: Path | None, overrides: Sequence[str]) -> Address:
    named = named_address(url, os.environ)
    if named is not None:
        return named
    for text, setting in zip(_from_settings(config, overrides), _LISTEN, strict=True):
        if (found := listening_address(text, setting)) is not None:
            return found
    raise BadAddress("server.listen and server.observe are empty, the daemon listens nowhere")


def _from_settings(config: Path | None, overrides: Sequence[str]) -> tuple[str, str]:
    from poller.settings import load_settings  # noqa: PLC0415 - slow, and rarely needed

    loaded = load_settings(
        config=config,
        overrides=overrides,
        environ=dict(os.environ),
        sections=("server", "log"),
    )
    return loaded.settings.server.listen, loaded.settings.server.observe


def _trouble(address: Address) -> dict[str, Any]:
    """Return what is degraded and why the daemon is not ready; empty if it does not answer."""
    try:
        _, document = ask(address, "/readyz", timeout=_TIMEOUT)
    except ControlError:
        return {}  # the loops run: the exit code does not depend on this
    found = {"degraded": document.get("degraded", [])}
    reason = document.get("reason")
    return {**found, "notReady": reason} if reason else found


def _text(document: Mapping[str, Any]) -> str:
    """Write the answer on a line, and each degraded part on another."""
    lines = [document["status"]]
    if reason := document.get("reason"):
        lines[0] += f": {reason}"
    hanging = [loop["name"] for loop in document.get("loops", ()) if not loop["turning"]]
    if hanging:
        lines[0] += f": these loops do not run: {', '.join(hanging)}"
    if not_ready := document.get("notReady"):
        lines.append(f"not ready: {not_ready}")
    lines += [
        f"degraded: {trouble['what']} since {trouble['since']}; {trouble['hint']}"
        for trouble in document.get("degraded", ())
    ]
    return "\n".join(lines)
