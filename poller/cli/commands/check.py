"""`poller check`: settings, credentials, store, sinks, and current trouble."""

from typing import Annotated

import typer
from anyio import create_task_group, run

from poller.cli.failures import EXIT_TROUBLE, EXIT_USAGE
from poller.cli.logs import configure_logs
from poller.cli.options import Config, Json, Overrides, Version
from poller.cli.probes.api import probe_credentials
from poller.cli.probes.daemon import probe_operation, probe_store
from poller.cli.probes.report import Finding, State, show_report
from poller.cli.probes.sinks import probe_sink
from poller.settings import Loaded, Settings, SettingsError, SettingsLoader, describe


def command(
    send: Annotated[
        bool,
        typer.Option(
            "--send", help="Post a signed poller.test event or a test message to each webhook."
        ),
    ] = False,
    json_output: Json = False,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> int:
    """Check settings, credentials, store and sinks, and print the settings in force.

    Changes nothing and posts nothing, unless --send. Exits with 1 where anything is wrong.
    """
    loader = SettingsLoader(config, overrides)
    return check_everything(loader, send=send, json_output=json_output)


def check_everything(loader: SettingsLoader, *, send: bool, json_output: bool) -> int:
    """Run all checks, print a report, and return the exit code.

    Changes nothing. `send` posts one test event to each webhook.

    :raises SettingsError: where the settings cannot be used.
    """
    loaded = loader.load()
    # the report contains all findings, so the log is silent
    configure_logs(level="critical", form=loaded.settings.log.format)
    findings = run(_run_checks, loaded, send)
    show_report(describe(loaded), findings, json_output=json_output)
    return _exit_code(findings)


async def _run_checks(loaded: Loaded, send: bool) -> list[Finding]:
    """Return every finding; the checks that use the network run at the same time."""
    settings = loaded.settings
    found: dict[str, list[Finding]] = {}
    store, condition = await probe_store(settings)
    # a database server may be shared: whether a daemon uses it is not known
    store_is_free = condition is not None and condition.is_file and condition.holder is None

    async def check_api() -> None:
        found[""] = [await probe_credentials(loaded)]

    async def check_sink(name: str) -> None:
        found[name] = await probe_sink(
            name,
            settings.sinks[name],
            public_url=settings.server.public_url,
            send=send,
            store_is_free=store_is_free,
        )

    async def check_operation() -> None:
        found["."] = await probe_operation(settings, condition)

    async with create_task_group() as tasks:
        tasks.start_soon(check_api)
        tasks.start_soon(check_operation)
        for name in settings.sinks:
            tasks.start_soon(check_sink, name)
    sinks = [finding for name in settings.sinks for finding in found[name]]
    return [*found[""], store, *_hints(settings), *sinks, *found["."]]


def _hints(settings: Settings) -> list[Finding]:
    """Report whether forged pushes can be recognized, if hints are accepted at all."""
    if not settings.server.hints:
        return []
    try:
        settings.require_hint_access()
    except SettingsError as error:
        missing = error.problems[0]
        return [Finding.problem(missing.field, missing.what, fix=missing.fix, is_usage=True)]
    method = "HTTP Basic" if settings.server.hints_user is not None else "the vendor's signature"
    return [Finding.ok("server.hints", f"{settings.server.hints}: pushes are checked by {method}")]


def _exit_code(findings: list[Finding]) -> int:
    if any(finding.is_usage for finding in findings):
        return EXIT_USAGE
    return EXIT_TROUBLE if any(finding.state is State.PROBLEM for finding in findings) else 0
