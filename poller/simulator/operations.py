"""A send, and the operation that it starts, as the API shows it at a given instant.

A send is read from the body of a request, or created as a sample.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any, Final, overload

from poller.simulator.answers import ApiError, SimulatedProblem
from poller.simulator.formats import format_instant, parse_instant
from poller.simulator.kinds import SimulatedKind
from poller.simulator.scenarios import Scenario, scenario_named
from poller.simulator.timeline import SimulatedMoment, Timeline

FATE_TAG: Final = "simulator-fate"
"""The tag of a send that chooses its scenario in the simulator."""

MAX_RECIPIENTS: Final = 10_000
_MAX_TAGS: Final = 10
_MAX_TAG_KEY: Final = 128
_MAX_TAG_VALUE: Final = 256
_MAX_PROBLEMS: Final = 20

_E164: Final = re.compile(r"\+[1-9]\d{1,14}")
_ADDRESSES: Final = ("address", "addresses", "profileId", "senderId")

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSend:
    """One accepted send.

    `recipients` and `sender` are shown unchanged; `scheduled_for` is None without a schedule.
    `groups` are the indices of the first recipient of each group, and the end of the last group;
    None if each recipient gets its own message.
    """

    kind: SimulatedKind
    recipients: Sequence[Json]
    fate: Scenario
    content: Json = field(default_factory=dict)
    sender: Json = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    scheduled_for: datetime | None = None
    groups: Sequence[int] | None = None

    @property
    def messages(self) -> int:
        """The number of its messages, including unaddressable recipients."""
        return len(self.recipients) if self.groups is None else len(self.groups) - 1

    def places_of(self, index: int) -> range:
        """Return the indices of the recipients of the message at `index`."""
        if self.groups is None:
            return range(index, index + 1)
        return range(self.groups[index], self.groups[index + 1])


class SampleRecipients(Sequence[Json]):
    """Sample recipients, each created when it is read."""

    _PATTERN: Final = {
        "PHONE": "+1415555{:04d}",
        "SENDER": "+1206555{:04d}",
        "EMAIL": "recipient-{}@example.com",
        "PUSH": "device-{:06d}",
    }

    def __init__(self, kind: SimulatedKind, count: int) -> None:
        if not 1 <= count <= MAX_RECIPIENTS:
            raise ValueError(f"recipients is {count!r}; give 1 to {MAX_RECIPIENTS:,}")
        self._channel = kind.channel
        self._range = range(count)

    def __len__(self) -> int:
        return len(self._range)

    @overload
    def __getitem__(self, index: int) -> Json: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Json]: ...
    def __getitem__(self, index: int | slice) -> Json | Sequence[Json]:
        if isinstance(index, slice):
            return [self[each] for each in self._range[index]]
        number = self._range[index]
        return {"address": self._PATTERN[self._channel].format(number), "channel": self._channel}


def read_send(body: object, *, kind: SimulatedKind, usual_fate: str) -> SimulatedSend:
    """Make a `SimulatedSend` from a decoded request body; unknown members are ignored.

    :raises ApiError: 400, naming each member that is wrong.
    """
    if not isinstance(body, dict):
        raise ApiError(400, SimulatedProblem("The request body must be a JSON object."))
    problems: list[SimulatedProblem] = []
    recipients, groups = _recipients(body.get(kind.target), kind, problems)
    content = body.get("content")
    problems += _content_problems(content, kind)
    sender = body.get("from")
    problems += _sender_problems(sender, kind)
    tags = body.get("tags")
    problems += _tag_problems(tags)
    scheduled_for = _schedule(body.get("schedule"), kind, problems)
    fate = _fate(tags, usual_fate, problems)
    if problems or fate is None:
        raise ApiError(400, *problems[:_MAX_PROBLEMS])
    return SimulatedSend(
        kind=kind,
        recipients=recipients,
        fate=fate,
        content=content or {},
        sender=sender or {},
        tags=tags or {},
        scheduled_for=scheduled_for,
        groups=groups,
    )


def _recipients(
    value: object, kind: SimulatedKind, problems: list[SimulatedProblem]
) -> tuple[Sequence[Json], Sequence[int] | None]:
    """Return the recipients and, if each item is a list of them, the starts of these groups."""
    where = kind.target
    items = value if isinstance(value, list) else []
    grouped = kind.conversations and bool(items) and all(isinstance(item, list) for item in items)
    listed = (
        [
            (f"{where}[{row}][{at}]", item)
            for row, group in enumerate(items)
            for at, item in enumerate(group)
        ]
        if grouped
        else [(f"{where}[{at}]", item) for at, item in enumerate(items)]
    )
    if not 1 <= len(listed) <= MAX_RECIPIENTS or (grouped and not all(items)):
        problems.append(
            SimulatedProblem(f"“{where}” must list 1 to {MAX_RECIPIENTS:,} recipients.", where)
        )
        return (), None
    recipients = []
    for place, item in listed:
        recipient = _shown(item, kind)
        if fault := _address_fault(recipient, kind):
            problems.append(SimulatedProblem(fault, place))
        else:
            recipients.append(recipient)
    return recipients, [*accumulate(map(len, items), initial=0)] if grouped else None


def _shown(item: object, kind: SimulatedKind) -> Json:
    """Return a recipient as messages show it; empty if it is not an object."""
    if not isinstance(item, dict):
        return {}
    usual = {"channel": kind.channel} if "address" in item else {}
    return usual | {name: value for name, value in item.items() if name != "variables"}


def _address_fault(item: Json, kind: SimulatedKind) -> str | None:
    if not any(item.get(name) for name in _ADDRESSES):
        return "A recipient must be an object with an “address”."
    address = item.get("address")
    if address is None:
        return None
    if not isinstance(address, str):
        return "“address” must be text."
    if item.get("channel") == "PHONE" and not _E164.fullmatch(address):
        return "“address” must be a phone number in E.164 format, such as +14155550100."
    if kind.channel == "EMAIL" and not all(address.partition("@")):
        return "“address” must be an email address."
    return None


def _content_problems(content: object, kind: SimulatedKind) -> Iterator[SimulatedProblem]:
    if kind.target != "to":
        return
    if not isinstance(content, dict) or not content:
        yield SimulatedProblem("“content” must be an object that is not empty.", "content")
        return
    if not isinstance(content.get("text", ""), str):
        yield SimulatedProblem("“text” must be text.", "content.text")
    for names in kind.content:
        if not any(content.get(name) for name in names):
            named = "” or “".join(sorted(names))
            yield SimulatedProblem(f"“content” must have “{named}”.", "content")


def _sender_problems(sender: object, kind: SimulatedKind) -> Iterator[SimulatedProblem]:
    if sender is None and kind.channel != "EMAIL":
        return
    if not isinstance(sender, dict) or not sender:
        yield SimulatedProblem("“from” must be an object that names a sender.", "from")
    elif not isinstance(sender.get("channel", ""), str):
        yield SimulatedProblem("“channel” must be text.", "from.channel")


def _tag_problems(tags: object) -> Iterator[SimulatedProblem]:
    if tags is None:
        return
    if not isinstance(tags, dict) or len(tags) > _MAX_TAGS:
        yield SimulatedProblem(f"“tags” must be an object of at most {_MAX_TAGS} pairs.", "tags")
        return
    for key, value in tags.items():
        if not 1 <= len(key) <= _MAX_TAG_KEY:
            yield SimulatedProblem(f"A tag's key has 1 to {_MAX_TAG_KEY} characters.", "tags")
        if not isinstance(value, str) or len(value) > _MAX_TAG_VALUE:
            yield SimulatedProblem(
                f"A tag's value is text of at most {_MAX_TAG_VALUE} characters.",
                f"tags.{key[:_MAX_TAG_KEY]}",
            )


def _schedule(
    schedule: object, kind: SimulatedKind, problems: list[SimulatedProblem]
) -> datetime | None:
    """Read `{"sendAt": […]}`; of several instants the latest counts."""
    if schedule is None:
        return None
    if "SCHEDULED" not in kind.statuses:
        problems.append(SimulatedProblem("This cannot be scheduled.", "schedule"))
        return None
    times = schedule.get("sendAt") if isinstance(schedule, dict) else None
    try:
        given = [times] if isinstance(times, str) else times
        if not isinstance(given, list):
            raise ValueError  # noqa: TRY301,TRY004 - the same answer as for an unreadable time
        return max(parse_instant(str(each), naive_is_utc=True) for each in given)
    except ValueError:
        problems.append(
            SimulatedProblem(
                "“sendAt” must list RFC 3339 times, such as 2026-11-22T09:30:00Z.",
                "schedule.sendAt",
            )
        )
        return None


def _fate(tags: object, usual: str, problems: list[SimulatedProblem]) -> Scenario | None:
    name = tags.get(FATE_TAG, usual) if isinstance(tags, dict) else usual
    try:
        return scenario_named(str(name))
    except ValueError as error:
        problems.append(SimulatedProblem(f"{error}.", f"tags.{FATE_TAG}"))
        return None


RETENTION: Final = timedelta(days=7)
"""How long the vendor keeps records after their creation."""

ENDED: Final = frozenset(("COMPLETED", "CANCELED"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedOperation:
    """An operation as a function of the clock.

    `starts` is `created`, or the scheduled instant if that is later; `speed` is how many seconds of
    the timeline pass in one second of the clock.

    Each of its messages (one for each recipient or group) counts in one counter: when it is read,
    it moves from `delivered` to `read`. So all counters but `total`, `recipients` and `attempts`
    add up to `total`, unless the kind counts cumulatively. If a kind has no counter for canceled
    messages, they count as queued.
    """

    id: str
    ordinal: int
    send: SimulatedSend
    created: datetime
    starts: datetime
    speed: float
    timeline: Timeline

    @property
    def kind(self) -> SimulatedKind:
        """Its kind."""
        return self.send.kind

    def time_at(self, now: datetime) -> float:
        """Return the timeline's time at an instant."""
        return (now - self.starts).total_seconds() * self.speed

    def instant_of(self, time: float | None, *, now: datetime) -> datetime:
        """Return the instant of a time of the timeline, at most `now`; for None its beginning.

        Before a scheduled operation starts, that is its creation.
        """
        begun = self.starts if now >= self.starts else self.created
        if time is None:
            return begun
        # A cancellation before the start has a negative time, but is after the creation.
        return min(self.starts + timedelta(seconds=time / self.speed), now)

    def moment(self, now: datetime) -> SimulatedMoment:
        """Return the view of its messages at an instant."""
        return self.timeline.at(self.time_at(now))

    def status(self, now: datetime, moment: SimulatedMoment | None = None) -> str:
        """Return its status at an instant; `COMPLETED` means processed: receipts may follow."""
        moment = moment or self.moment(now)
        if moment.canceled:
            return "CANCELED"
        if now < self.starts:
            return "SCHEDULED"
        return "COMPLETED" if moment.emptied else "PROCESSING"

    def expired(self, now: datetime) -> bool:
        """Return whether its records have been deleted."""
        return now - self.created > RETENTION

    def document(self, now: datetime) -> dict[str, Any]:
        """Return the operation as the API shows it."""
        moment = self.moment(now)
        status = self.status(now, moment)
        return {
            "id": self.id,
            "status": status,
            "stats": self._stats(moment, status),
            "createdAt": format_instant(self.created),
            "updatedAt": format_instant(self.instant_of(moment.tally.changed_at, now=now)),
        }

    def _stats(self, moment: SimulatedMoment, status: str) -> dict[str, int]:
        tally = moment.tally
        known = {
            "total": self.timeline.total,
            "recipients": len(self.send.recipients),
            "attempts": tally.attempts,
            "scheduled" if status == "SCHEDULED" else "queued": tally.waiting,
        }
        known |= {name.lower(): count for name, count in tally.statuses.items()}
        if "canceled" not in self.kind.counters:
            known["queued"] = known.get("queued", 0) + known.get("canceled", 0)
        if self.kind.cumulative:
            opened = known.get("read", 0) + known.get("opened", 0)
            known["delivered"] = known.get("delivered", 0) + opened
            receipts = known["delivered"] + known.get("undelivered", 0)
            known["sent"] = known.get("sent", 0) + receipts
        return {name: known.get(name, 0) for name in self.kind.counters}
