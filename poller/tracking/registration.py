"""Registrations: parsing one, and applying it where the operation may be known already. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from poller.comms.ids import InvalidId, check_watchable_id, is_message_id
from poller.comms.kinds import DEFAULT_KIND, KINDS, UnknownKind, kind_named
from poller.text import RepeatedMember
from poller.tracking.lifecycle import PhaseChange, change_phase
from poller.tracking.trace import Trace
from poller.tracking.watch import AccountScope, NextPoll, NotFoundStreak, Outcome, Phase, Watch

_MOST_LABELS: Final = 32
_LONGEST_NAME: Final = 128
_LONGEST_VALUE: Final = 256
# half of a surrogate pair has no UTF-8, and PostgreSQL stores no NUL
_UNSTORABLE: Final = re.compile("[\\x00\\ud800-\\udfff]")
_HAS_UNSTORABLE: Final = "contains NUL or half of a surrogate pair, which cannot be stored"
_MEMBERS: Final = frozenset(
    {"id", "kind", "labels", "breakdown", "group", "traceparent", "tracestate"}
)
MOST_MEMBERS: Final = 1_000_000
"""The largest number of members with which a group can be sealed."""

GROUP_NAME: Final = re.compile(r"(?!comms_)[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
"""The name of a group; it differs from all ids, and needs no escaping in the path of a URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A request to watch an operation or a message. Its id and kind are checked already.

    With `breakdown` None, the settings decide whether the breakdown is read at the end. With
    `group` or `trace` None, a known watch keeps its own.
    """

    id: str
    kind: str
    labels: Mapping[str, str] = field(default_factory=dict)
    breakdown: bool | None = None
    group: str | None = None
    trace: Trace | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """Defaults for absent members of a registration; its labels are added to these."""

    kind: str = DEFAULT_KIND.name
    labels: Mapping[str, str] = field(default_factory=dict)
    breakdown: bool | None = None
    group: str | None = None
    trace: Trace | None = None


class BadRegistration(ValueError):
    """The input is not a registration: `field` names the member, `fault` says how to correct it."""

    def __init__(self, field: str, fault: str) -> None:
        super().__init__(f"{field}: {fault}")
        self.field = field
        self.fault = fault


class Conflict(ValueError):
    """The registration contradicts what is known; the message says how, and what to do."""


_NONE: Final = Defaults()


def parse_registration(document: object, defaults: Defaults = _NONE) -> Registration:
    """Read `{"id": …, "kind": …, "labels": {…}, "breakdown": true, "group": …}`.

    `traceparent` and `tracestate` may be members, too.

    Its labels override those of `defaults`. The id of a message determines its kind.

    :raises BadRegistration: naming the member that is wrong.
    """
    if isinstance(document, RepeatedMember):
        raise BadRegistration(document.name, "is given twice")
    if not isinstance(document, dict):
        raise BadRegistration("registration", 'write an object such as {"id": "comms_operation_…"}')
    unknown = sorted(str(name) for name in set(document) - _MEMBERS)
    if unknown:
        raise BadRegistration(
            unknown[0], f"unknown member; there are {', '.join(sorted(_MEMBERS))}"
        )
    own_kind = document.get("kind")
    own_labels = document.get("labels")
    own_breakdown = document.get("breakdown")
    own_group = document.get("group")
    if own_breakdown is not None and not isinstance(own_breakdown, bool):
        raise BadRegistration("breakdown", "must be true or false")
    try:
        watchable = check_watchable_id(_text(document, "id"))
        given = None if own_kind is None else kind_named(_text(document, "kind")).name
    except InvalidId as error:
        raise BadRegistration("id", str(error)) from None
    except UnknownKind as error:
        raise BadRegistration("kind", str(error)) from None
    return Registration(
        id=watchable,
        kind=kind_of(watchable, given=given, default=defaults.kind),
        labels=_add_labels(defaults.labels, {} if own_labels is None else own_labels),
        breakdown=defaults.breakdown if own_breakdown is None else own_breakdown,
        group=defaults.group if own_group is None else check_group_name(own_group),
        trace=_trace(document) or defaults.trace,
    )


def _trace(document: Mapping[str, Any]) -> Trace | None:
    if "traceparent" not in document:
        if "tracestate" in document:
            raise BadRegistration("tracestate", "goes with a traceparent only")
        return None
    return check_trace(
        _text(document, "traceparent"),
        _text(document, "tracestate") if "tracestate" in document else None,
    )


def check_trace(traceparent: str, tracestate: str | None) -> Trace:
    """Return the trace of these two values where they are valid.

    :raises BadRegistration: otherwise.
    """
    try:
        return Trace(traceparent=traceparent, tracestate=tracestate)
    except ValueError as error:
        name, _, fault = str(error).partition(": ")
        raise BadRegistration(name, fault) from None


def kind_of(watchable: str, *, given: str | None, default: str) -> str:
    """Return the kind for this id: `given`, else `default`; for a message always its own.

    :raises BadRegistration: where `given` is another kind than a message's own.
    """
    if not is_message_id(watchable):
        return given or default
    own = next(kind.name for kind in KINDS.values() if watchable.startswith(kind.item_prefixes))
    if given not in {None, own}:
        raise BadRegistration(
            "kind", f"{watchable} is a message of kind {own}, not {given}; leave kind out"
        )
    return own


def check_labels(labels: object) -> Mapping[str, str]:
    """Return `labels` where it is an object of text.

    The bounds keep an event small: at most 32 labels, names of 1 to 128 and values of at most
    256 characters (the vendor's bounds for tags).

    :raises BadRegistration: otherwise.
    """
    if isinstance(labels, RepeatedMember):
        raise BadRegistration(f"labels.{labels.name}", "is given twice")
    if not isinstance(labels, dict):
        raise BadRegistration("labels", 'write an object such as {"campaign": "autumn"}')
    if len(labels) > _MOST_LABELS:
        raise BadRegistration("labels", f"{len(labels)} of them, at most {_MOST_LABELS}")
    for name, value in labels.items():
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME:
            raise BadRegistration("labels", f"a name must have 1 to {_LONGEST_NAME} characters")
        if _UNSTORABLE.search(name):
            raise BadRegistration("labels", f"the name {name!r} {_HAS_UNSTORABLE}")
        if not isinstance(value, str) or len(value) > _LONGEST_VALUE:
            raise BadRegistration(
                f"labels.{name}", f"must be text of at most {_LONGEST_VALUE} characters"
            )
        if _UNSTORABLE.search(value):
            raise BadRegistration(f"labels.{name}", f"the value {_HAS_UNSTORABLE}")
    return labels


def _add_labels(defaults: Mapping[str, str], own: object) -> Mapping[str, str]:
    labels = {**defaults, **check_labels(own)}
    if len(labels) > _MOST_LABELS:
        raise BadRegistration(
            "labels", f"{len(labels)} of them with those of the command, at most {_MOST_LABELS}"
        )
    return labels


def check_group_name(name: object) -> str:
    """Return `name` where a group can have it.

    :raises BadRegistration: otherwise.
    """
    if not isinstance(name, str) or not GROUP_NAME.fullmatch(name):
        raise BadRegistration(
            "group",
            "must be 1 to 64 letters, digits, '.', '_', ':' and '-', beginning with a letter or "
            "a digit and not with comms_",
        )
    return name


def check_expected(number: object) -> int | None:
    """Return the number of members with which a group is to be sealed; None for those it has now.

    :raises BadRegistration: where it is not such a number.
    """
    if number is None:
        return None
    # by type: True is an int
    if type(number) is not int or not 1 <= number <= MOST_MEMBERS:
        raise BadRegistration("expected", f"must be a whole number from 1 to {MOST_MEMBERS:,}")
    return number


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise BadRegistration(name, "must be text")
    return value


def register(
    known: Watch | None, registration: Registration, *, scope: AccountScope, now: datetime
) -> tuple[Watch, bool]:
    """Return the watch to store, and whether watching begins (201) or continues (200).

    :raises Conflict: where the operation is known under another kind, belongs to another scope
        or group, or would have too many labels.
    """
    if known is None:
        return _begin(registration, scope, now), True
    if known.scope != scope:
        raise Conflict(
            f"{registration.id} is watched for account {known.scope.account} "
            f"at {known.scope.base_url}, this daemon serves account {scope.account} "
            f"at {scope.base_url}; "
            "use a store of its own for each (store.url)"
        )
    kind = _kind(known, registration)
    known = known.evolve(group=_group(known, registration), trace=registration.trace or known.trace)
    labels = _merged_labels(known, registration)
    if registration.breakdown is not None:
        known = known.evolve(wants_breakdown=registration.breakdown)
    if known.is_watched and kind != known.kind:
        # refusals under the wrong kind say nothing about the right one, which was not polled yet
        due_now = NextPoll(wait=0, due_at=now, set_at=now)
        return known.evolve(
            kind=kind, labels=labels, not_found_streak=NotFoundStreak(), next_poll=due_now
        ), False
    if known.is_watched or (known.is_final and known.phase is Phase.ENDED):
        return known.evolve(labels=labels), False
    return _resume(known, kind, labels, now), True


def forget(known: Watch, *, now: datetime) -> Watch:
    """Stop watching: the watch leaves its group.

    A watch that has ended remains ended: later registrations get its end as their answer.
    """
    after = change_phase(known, PhaseChange.FORGET, now=now)
    has_left = after.group is not None and after.phase is Phase.FORGOTTEN
    return after.evolve(group=None) if has_left else after


def _begin(registration: Registration, scope: AccountScope, now: datetime) -> Watch:
    return Watch(
        id=registration.id,
        kind=registration.kind,
        scope=scope,
        labels=dict(registration.labels),
        registered_at=now,
        next_poll=NextPoll(wait=0, due_at=now, set_at=now),
        wants_breakdown=registration.breakdown,
        group=registration.group,
        trace=registration.trace,
    )


def _group(known: Watch, registration: Registration) -> str | None:
    if registration.group is None or known.group in {None, registration.group}:
        return registration.group or known.group
    raise Conflict(
        f"{registration.id} is in the group {known.group}, and can be in one group only; "
        "leave the group out, which changes nothing"
    )


def _merged_labels(known: Watch, registration: Registration) -> Mapping[str, str]:
    labels = {**known.labels, **registration.labels}
    # a watch from before this bound was checked may have more; it can be registered as it is
    if len(labels) > max(_MOST_LABELS, len(known.labels)):
        raise Conflict(
            f"labels: {registration.id} has {len(known.labels)} and would have {len(labels)} with "
            f"these, at most {_MOST_LABELS}; change the values of labels that it has"
        )
    return labels


def _kind(known: Watch, registration: Registration) -> str:
    if registration.kind == known.kind:
        return known.kind
    nothing_seen = known.snapshot is None and known.emitted.status is None
    if nothing_seen or known.outcome is Outcome.LOST:
        return registration.kind
    raise Conflict(
        f"{registration.id} is watched as kind {known.kind} and was seen as such, "
        f"not as {registration.kind}; register it with kind {known.kind}"
    )


def _resume(known: Watch, kind: str, labels: Mapping[str, str], now: datetime) -> Watch:
    """Resume a watch that was forgotten or lost: sequence and deltas continue where they were."""
    settling = known.outcome is Outcome.COMPLETED
    change = PhaseChange.RESUME_SETTLING if settling else PhaseChange.RESUME
    return change_phase(known, change, now=now).evolve(
        kind=kind,
        labels=labels,
        registered_at=now,
        outcome=known.outcome if settling else None,
        # movements in between were not observed
        moved_at=None,
        not_found_streak=NotFoundStreak(),
        next_poll=NextPoll(wait=0, due_at=now, set_at=now),
    )
