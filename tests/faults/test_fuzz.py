"""Any answer at all: from bytes through decoding, tracking and the store to an event's JSON."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any, Final

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from sqlalchemy import Connection

from poller.comms.errors import CommsError
from poller.comms.kinds import kind_named
from poller.comms.models import decode_operation
from poller.comms.transport import Answer as HttpAnswer
from poller.comms.transport import decode_answer
from poller.engine.log_events import PollLog
from poller.engine.requests import answer_of
from poller.store.database import Database
from poller.store.migrate import migrate
from poller.store.registrations import register_all
from poller.store.scopes import find_or_create_scope
from poller.store.watches import Observation, record
from poller.tracking.answer import Answer, FoundAnswer
from poller.tracking.event import load_event_schema
from poller.tracking.pacing import Policy
from poller.tracking.registration import Registration
from poller.tracking.watch import AccountScope
from tests.examples import times
from tests.faults.conftest import Witness
from tests.faults.stage import ODD, WELL
from tests.oracle import check_promises

NOW: Final = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
HOME: Final = AccountScope(account="AC1", base_url="https://comms.example.com/v1")
LIMIT: Final = 1 << 20
COUNTERS: Final = sorted(kind_named("messages").counters)
VALIDATOR: Final = Draft202012Validator(
    load_event_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER
)


def _nested(depth: int, as_list: bool) -> object:  # noqa: FBT001 - hypothesis builds it
    value: object = 0
    for _ in range(depth):
        value = [value] if as_list else {"a": value}
    return value


# surrogates and NUL included, and what looks like something else
_ODD_TEXT: Final = st.text(st.characters(exclude_categories=()), max_size=12) | st.sampled_from(
    [
        *(
            "",
            "\0",
            "\ud800",
            "\udc00\ud800",
            "\u2028",
            "\ufeff",
            "nul\0nul",
            "a" * 5000,
            "1",
            "-1",
        ),
        *("SCHEDULED", "PROCESSING", "COMPLETED", "CANCELED", "completed", WELL, "{}", "null"),
        *("2026-11-22T09:00:00Z", "2099-01-01T00:00:00Z", "1990-01-01T00:00:00+23:59"),
        *("2026-11-22", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"),
    ]
)
_ODD_NUMBER: Final = (
    st.integers(-3, 50)
    | st.sampled_from([2**31, 10**12, 2**63, -(2**63), 2**64, 10**300, -0.0, 1e308, 1.5])
    | st.floats()
)
_ODD_VALUE: Final = st.recursive(
    st.none() | st.booleans() | _ODD_NUMBER | _ODD_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_ODD_TEXT, inner, max_size=3),
    max_leaves=6,
) | st.builds(_nested, st.integers(1, 300), st.booleans())

_MEMBER: Final = st.sampled_from(["id", "status", "stats", "createdAt", "updatedAt"])
_PLACE: Final = st.one_of(
    st.tuples(_MEMBER),
    st.tuples(_ODD_TEXT),
    st.tuples(st.just("stats"), st.sampled_from(COUNTERS) | _ODD_TEXT),
)
_MISSING: Final = object()
_CHANGES: Final = st.lists(st.tuples(_PLACE, st.just(_MISSING) | _ODD_VALUE), max_size=3)
_STATS: Final = st.dictionaries(st.sampled_from(COUNTERS), st.integers(0, 99), max_size=5)


def good_document(status: str, stats: dict[str, int], age: float) -> dict[str, Any]:
    """Return an operation as the vendor documents it, updated `age` seconds ago."""
    updated = (NOW - timedelta(seconds=age)).isoformat().replace("+00:00", "Z")
    return {
        "id": ODD,
        "status": status,
        "stats": stats,
        "createdAt": "2026-11-22T09:00:00Z",
        "updatedAt": updated,
    }


def _bend(document: dict[str, Any], changes: Sequence[tuple[tuple[str, ...], object]]) -> object:
    for place, value in changes:
        parent: Any = document
        for name in place[:-1]:
            parent = parent.get(name)
        if not isinstance(parent, dict):
            continue
        if value is _MISSING:
            parent.pop(place[-1], None)
        else:
            parent[place[-1]] = value
    return document


def _encode(document: object, as_escapes: bool) -> bytes:  # noqa: FBT001 - hypothesis builds it
    # NaN and Infinity are written as Python does: no JSON, and seen in the wild
    return json.dumps(document, ensure_ascii=as_escapes).encode("utf-8", "surrogatepass")


def _cut(body: bytes, at: int, junk: bytes) -> bytes:
    return body[:at] + junk + body[at + len(junk) :]


def _bent(changes: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Encode an operation with changes."""
    document = st.builds(
        good_document,
        st.sampled_from(["SCHEDULED", "PROCESSING", "PROCESSING", "DEFERRED", "COMPLETED"]),
        _STATS,
        st.floats(0, 3000),
    )
    return st.builds(_encode, st.builds(_bend, document, changes), st.booleans())


# what the poller need not understand, and has to carry
_STRANGERS: Final = st.lists(
    st.tuples(st.tuples(_ODD_TEXT) | st.tuples(st.just("stats"), _ODD_TEXT), _ODD_VALUE), max_size=3
)
_BODY: Final = st.one_of(
    _bent(_STRANGERS),
    _bent(_CHANGES),
    st.builds(_encode, _ODD_VALUE, st.booleans()),
    st.builds(_cut, _bent(st.just([])), st.integers(0, 300), st.binary(max_size=9)),
    st.binary(max_size=40),
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Give a migrated store; nothing is ever committed to it."""
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('fuzz') / 'poller.db'}")
    migrate(database)
    yield database
    database.close()


class Fuzz:
    """One operation in one transaction, and everything that its answers make."""

    def __init__(self, connection: Connection, scope: AccountScope, policy: Policy) -> None:
        self.events: list[dict[str, Any]] = []
        self.last: Observation | None = None
        self._connection = connection
        self._scope = scope
        self._policy = policy
        self._now = NOW
        self._log = PollLog(lambda: self._now)
        register_all(
            connection,
            scope,
            [Registration(id=ODD, kind="messages")],
            NOW,
            policy=policy,
        )

    def take(self, body: bytes) -> None:
        """Take one answer, as the engine does with the bytes of a body."""
        self._now += timedelta(seconds=1)
        (self.last,) = record(
            self._connection,
            self._scope,
            [(ODD, self._answer(body))],
            kind="messages",
            policy=self._policy,
            lease_owner=None,
            now=self._now,
            random=Random(0),  # noqa: S311 - jitter
        )
        self._log.observations([self.last])
        for made in self.last.events:
            event = json.loads(made.body.encode())
            assert b"\n" not in made.body.encode()
            VALIDATOR.validate(event)
            self.events.append(event)

    def _answer(self, body: bytes) -> Answer:
        decode = partial(decode_operation, kind=kind_named("messages"), expected_id=ODD)
        try:
            operation = decode_answer(
                HttpAnswer(status=200, headers={}, body=body), decode, action="fetch", limit=LIMIT
            )
        except CommsError as error:
            self._log.failure(error, operation=ODD)
            answer = answer_of(error, begun_at=self._now, arrived_at=self._now)
            assert answer is not None
            return answer
        return FoundAnswer(found=operation, begun_at=self._now, arrived_at=self._now)

    def check(self) -> None:
        """Check that the operation has ended, once, and that the deltas add up."""
        assert self.last is not None
        assert self.last.watch is not None
        assert not self.last.watch.is_watched
        check_promises(self.events)


def _play(database: Database, bodies: Sequence[bytes], policy: Policy) -> None:
    with database.engine.connect() as connection, connection.begin() as transaction:
        fuzz = Fuzz(connection, find_or_create_scope(connection, HOME), policy)
        for body in bodies:
            fuzz.take(body)
        for age in (0.0, -1.0):
            # twice, for where completed settles: receipts are in
            last = good_document("COMPLETED", {"total": 9, "delivered": 9}, age)
            fuzz.take(json.dumps(last).encode())
        fuzz.check()
        transaction.rollback()


_POLICIES: Final = st.builds(
    Policy, progress_interval=st.sampled_from([0.0, 2.0]), settle=st.sampled_from([0.0, 60.0])
)


@settings(
    max_examples=times(2),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(bodies=st.lists(_BODY, max_size=4), policy=_POLICIES)
def test_any_answer(
    database: Database, witness: Witness, bodies: list[bytes], policy: Policy
) -> None:
    """Nothing raises, events are JSON of the published shape, and a good answer ends the watch."""
    before = len(witness.logs)
    _play(database, bodies, policy)
    render = structlog.processors.JSONRenderer()
    for line in witness.logs[before:]:
        str(render(None, "info", dict(line))).encode()


@pytest.mark.soak
@settings(
    max_examples=20_000,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(bodies=st.lists(_BODY, max_size=8), policy=_POLICIES)
def test_any_answer_for_long(database: Database, bodies: list[bytes], policy: Policy) -> None:
    """The same with many more and longer rows of answers."""
    _play(database, bodies, policy)
