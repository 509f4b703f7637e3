"""`poller group list`, `show` and `seal`: many operations that are counted as one."""

import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

import typer

from poller.cli.commands.list import print_operations
from poller.cli.formatting import breakdown_text, labels_text, when
from poller.cli.operation_detail import print_facts
from poller.cli.options import Config, Json, Limit, Overrides, Url, Version, group_named
from poller.cli.output import is_terminal, print_table, say_rest
from poller.cli.session import Target, with_daemon
from poller.clock import wall_clock
from poller.control.client import ControlClient
from poller.server.documents import GroupDocument, GroupStoryDocument, OperationDocument
from poller.text import counted, dump_json, printable
from poller.tracking.watch import SortOrder

_COLUMNS: Final = ("GROUP", "STATE", "ENDED", "DONE", "FAILED", "SINCE", "LABELS")


class Action(StrEnum):
    """What is done with groups."""

    LIST = "list"
    SHOW = "show"
    SEAL = "seal"


def command(
    action: Annotated[Action, typer.Argument(help="list them, show one, or seal one.")],
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The group.", show_default=False)
    ] = None,
    expected: Annotated[
        int | None,
        typer.Option(
            "--expected",
            metavar="N",
            min=1,
            help="Seal it once it has N members, now or later.",
            show_default=False,
        ),
    ] = None,
    failed: Annotated[
        bool,
        typer.Option(
            "--failed", help="Also show the members with failures, and why their messages failed."
        ),
    ] = False,
    limit: Limit = 100,
    json_output: Json = False,
    url: Url = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> int:
    """List groups, show one, or seal one: it ends when all its members have.

    A group counts the operations that were registered with its name (--group) as one. A sealed
    group accepts no more members, and ends when the last of them has.
    """
    target = Target(url, config, overrides)
    if action is Action.LIST:
        _refuse(name, "NAME", action)
        _refuse(expected, "--expected", action)
        _refuse(failed or None, "--failed", action)
        return list_groups(target, limit=limit, json_output=json_output)
    if name is None:
        raise typer.BadParameter(f"name the group to {action.value}", param_hint="NAME")
    checked = group_named(name, option="NAME")
    if action is Action.SHOW:
        _refuse(expected, "--expected", action)
        most = limit if failed else None
        return show_group(target, checked, failures=most, json_output=json_output)
    _refuse(failed or None, "--failed", action)
    return seal_group(target, checked, expected=expected, json_output=json_output)


def list_groups(target: Target, *, limit: int, json_output: bool) -> int:
    """Print up to `limit` groups, the newest first; returns the exit code.

    :raises SettingsError: where the settings cannot be used.
    :raises ControlError: where the daemon does not answer.
    """

    async def fetch(client: ControlClient) -> list[GroupDocument]:
        return [one async for one in client.groups(limit=limit + 1)]

    found = with_daemon(target, fetch)
    _print(found[:limit], json_output=json_output)
    say_rest(len(found), limit)
    return 0


def show_group(target: Target, name: str, *, failures: int | None = None, json_output: bool) -> int:
    """Print one group with the counts of its members; returns the exit code.

    With `failures` it also prints why messages failed, as far as that was read, and up to that
    number of members with failures, most failures first.

    :raises SettingsError: where the settings cannot be used.
    :raises ControlError: where the daemon does not answer, or knows no such group.
    """
    filters = [("group", name), ("sort", SortOrder.FAILED.value)]

    async def fetch(
        client: ControlClient,
    ) -> tuple[GroupStoryDocument, list[OperationDocument]]:
        # the breakdown is the last event
        group = await client.group(name, events=0 if failures is None else 1)
        if failures is None:
            return group, []
        return group, [one async for one in client.operations(filters, limit=failures + 1)]

    group, members = with_daemon(target, fetch)
    if json_output:
        sys.stdout.write(dump_json(group) + "\n")
    else:
        print_facts(_facts(group, wall_clock()))
    if failures is not None:
        if members and not json_output:
            sys.stdout.write("\n")
            sys.stdout.flush()
        print_operations(members[:failures], json_output=json_output)
        say_rest(len(members), failures, nothing="no member has failures")
    sys.stdout.flush()
    return 0


def seal_group(target: Target, name: str, *, expected: int | None, json_output: bool) -> int:
    """Seal a group now, or when it has `expected` members; returns the exit code.

    :raises SettingsError: where the settings cannot be used.
    :raises ControlError: where the daemon does not answer, or refuses.
    """

    async def seal(client: ControlClient) -> GroupDocument:
        return await client.seal(name, expected)

    group = with_daemon(target, seal)
    if json_output:
        sys.stdout.write(dump_json(group) + "\n")
    elif expected is not None and group["state"] == "open":
        has = group["operations"]["total"]
        sys.stdout.write(
            f"{name} is sealed when it has {counted(expected, 'member')}; it has {has:,}\n"
        )
    else:
        sys.stdout.write(f"{name} is sealed; members: {group['operations']['total']}\n")
    sys.stdout.flush()
    return 0


def _refuse(value: object, option: str, action: Action) -> None:
    if value is not None:
        raise typer.BadParameter(f"cannot be combined with {action.value}", param_hint=option)


def _print(groups: Sequence[GroupDocument], *, json_output: bool) -> None:
    if json_output:
        for group in groups:
            sys.stdout.write(dump_json(group) + "\n")
    elif groups:
        now = wall_clock() if is_terminal() else None
        print_table(_COLUMNS, [_cells(group, now) for group in groups])
    sys.stdout.flush()


def _cells(group: GroupDocument, now: datetime | None) -> Sequence[str]:
    """Write a row; without `now` the instant is RFC 3339, for programs."""
    members, progress = group["operations"], group["progress"]
    total = "?" if progress["total"] is None else str(progress["total"])
    return (
        group["name"],
        group["state"],
        f"{members['total'] - members['watching']}/{members['total']}",
        f"{progress['done']}/{total}",
        str(progress["failed"]),
        group["createdAt"] if now is None else when(group["createdAt"], now),
        printable(labels_text(group["labels"])),
    )


def _facts(group: GroupStoryDocument, now: datetime) -> Iterator[tuple[str, str]]:
    members, progress = group["operations"], group["progress"]
    yield "group", group["name"]
    yield "state", group["state"]
    yield "operations", ", ".join(f"{number:,} {name}" for name, number in members.items())
    if group["expected"] is not None:
        yield "expected", str(group["expected"])
    total = "?" if progress["total"] is None else f"{progress['total']:,}"
    yield "messages", f"{progress['done']:,} of {total} done, {progress['failed']:,} failed"
    counted = [f"{number:,} {name}" for name, number in group["counters"].items() if number]
    if counted:
        yield "counters", ", ".join(counted)
    if (breakdown := group["breakdown"]) is not None:
        yield "reasons", breakdown_text(breakdown)
    if group["labels"]:
        yield "labels", printable(labels_text(group["labels"]), limit=1000)
    for name, member in (
        ("created", group["createdAt"]),
        ("sealed", group["sealedAt"]),
        ("ended", group["endedAt"]),
    ):
        if member is not None:
            yield name, f"{member} ({when(member, now)})"
