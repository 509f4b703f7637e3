"""A send as a function of time: which messages have left the queue, their statuses, and since when.

Pure. Time is in seconds at speed 1 since the send began (negative while it is scheduled). Nothing
is stored per message: the queue empties along an invertible curve, and the rest follows from the
path of a message. Counts and single messages come from the same functions, so they agree.

Messages get their paths from a deck: a shuffled sequence of 1,000 cards, each naming a path. The
deck is repeated over all messages of a send, and each send begins at its own place in it. How many
of the first n messages make a move, and which message is the k-th to make it, are two lookups: so
counting a send of 10,000 costs as much as counting a send of ten.
"""

import random
from array import array
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from poller.simulator.kinds import MessagePath, SimulatedKind, path_ending_in
from poller.simulator.scenarios import SHARES, Scenario

CARDS: Final = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """A change from one status (None: queued) to the next, `lag` seconds after leaving the queue.

    `counts[m]` is how many of the cards before place `m` make it; `places` are these cards' places.
    """

    lag: float
    before: str | None
    after: str
    counts: Sequence[int]
    places: Sequence[int]

    def made(self, count: int, *, shift: int) -> int:
        """Count those among the first `count` messages whose path has this move."""
        rounds, rest = divmod(shift + count, CARDS)
        return rounds * len(self.places) + self.counts[rest] - self.counts[shift]

    def nth(self, ordinal: int, *, shift: int) -> int:
        """Return the index of the message that is the `ordinal`-th (from 1) to make it."""
        rounds, place = divmod(self.counts[shift] + ordinal - 1, len(self.places))
        return rounds * CARDS + self.places[place] - shift


@dataclass(frozen=True, slots=True, eq=False)
class Deck:
    """Shuffled cards, each the index of a path, and the moves that these paths consist of.

    `tries` are, for each lag of an attempt, the numbers of attempts of the cards before each place.
    """

    paths: Sequence[MessagePath]
    cards: bytes
    moves: Sequence[Move]
    tries: Sequence[tuple[float, Sequence[int]]]

    def path_of(self, index: int, *, shift: int) -> MessagePath:
        """Return the path of the message at `index`."""
        return self.paths[self.cards[(index + shift) % CARDS]]

    def attempts(self, left: Callable[[float], int], *, shift: int) -> int:
        """Count the attempts made; `left(lag)` messages left at least that many seconds ago."""
        made = 0
        for lag, sums in self.tries:
            rounds, rest = divmod(shift + left(lag), CARDS)
            made += rounds * sums[CARDS] + sums[rest] - sums[shift]
        return made


@lru_cache(maxsize=64)
def deck_for(kind: SimulatedKind, fate: Scenario, seed: int) -> Deck:
    """Return the deck of a scenario; sends of the same kind, scenario and seed share it."""
    if fate.each:
        paths = [path_ending_in(code, kind.outcomes) for code in fate.each]
        cards = [place % len(paths) for place in range(CARDS)]
    else:
        hands = _hands(kind, fate)
        paths = [path for path, _ in hands]
        cards = [number for number, (_, size) in enumerate(hands) for _ in range(size)]
        random.Random(f"{seed}:{kind.name}:deck").shuffle(cards)  # noqa: S311 - has to repeat, not to be secret
    return Deck(
        paths=paths,
        cards=bytes(cards),
        moves=_moves(paths, cards),
        tries=_tries([paths[card] for card in cards]),
    )


def _hands(kind: SimulatedKind, fate: Scenario) -> list[tuple[MessagePath, int]]:
    """Return each path of the scenario, with its number of cards."""
    outcomes = kind.outcomes
    hands: list[tuple[MessagePath, int]] = []
    for name in SHARES:
        paths = outcomes.get(name, ())
        cards = int(
            getattr(fate, name) * CARDS + 1e-6
        )  # rounded down, so that all fit into the deck
        for number, path in enumerate(paths):
            size = cards * (number + 1) // len(paths) - cards * number // len(paths)
            hands.append((path, size))
    hands += [
        (path_ending_in(code, outcomes), int(share * CARDS + 1e-6)) for code, share in fate.codes
    ]
    (usual,) = outcomes["delivered"]
    hands.append((usual, CARDS - sum(size for _, size in hands)))
    return [(path, size) for path, size in hands if size]


def _moves(paths: Sequence[MessagePath], cards: Sequence[int]) -> list[Move]:
    """Return every move of any path, each once, with the cards whose path has it."""
    makers: dict[tuple[float, str | None, str], set[int]] = {}
    for number, path in enumerate(paths):
        before = None
        for hop in path.hops:
            makers.setdefault((hop.lag, before, hop.status), set()).add(number)
            before = hop.status
    return [_move(key, numbers, cards) for key, numbers in sorted(makers.items(), key=repr)]


def _move(
    key: tuple[float, str | None, str], numbers: Container[int], cards: Sequence[int]
) -> Move:
    makes = [card in numbers for card in cards]
    places = array("H", (place for place, made in enumerate(makes) if made))
    return Move(*key, counts=_sums(makes), places=places)


def _tries(dealt: Sequence[MessagePath]) -> list[tuple[float, Sequence[int]]]:
    """Return, for each lag of an attempt on any path, the sums along the cards."""
    lags = sorted({attempt.lag for path in dealt for attempt in path.attempts})
    return [
        (lag, _sums([sum(attempt.lag == lag for attempt in path.attempts) for path in dealt]))
        for lag in lags
    ]


def _sums(values: Sequence[int]) -> Sequence[int]:
    sums = array("H", [0])
    for value in values:
        sums.append(sums[-1] + value)
    return sums


_RAMP: Final = 1.2
"""The queue empties at an increasing rate: the share sent is the share of time to this power."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """When the messages of one send leave the queue, and which paths they take.

    The first leaves after `latency`, the last `span` later. `canceled_at` is when queued messages
    are canceled, None for never.
    """

    total: int
    deck: Deck
    shift: int
    latency: float
    span: float
    canceled_at: float | None = None

    def left(self, time: float) -> int:
        """Count the messages that have left the queue by then, without cancellation."""
        part = (time - self.latency) / self.span
        if part <= 0:
            return 0
        return self.total if part >= 1 else int(self.total * part**_RAMP)

    def leaves_at(self, index: int) -> float:
        """Return when the message at `index` leaves the queue."""
        return self.latency + self.span * float(((index + 1) / self.total) ** (1 / _RAMP))

    def at(self, time: float) -> "SimulatedMoment":
        """Return the view of this send at that time."""
        return SimulatedMoment(self, time)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedTally:
    """The number of messages by status, the attempts made, and the time of the last change.

    `changed_at` is None before the first change. `waiting` messages have not left the queue.
    """

    waiting: int
    statuses: Mapping[str, int]
    attempts: int
    changed_at: float | None


class SimulatedMoment:
    """One send at one time."""

    def __init__(self, timeline: Timeline, time: float) -> None:
        self._timeline = timeline
        self._lefts: dict[float, int] = {}
        self.time = time
        canceled_at = timeline.canceled_at
        self.canceled = canceled_at is not None and time >= canceled_at
        self._end = timeline.total  # messages from here on never leave the queue
        if canceled_at is not None and self.canceled:
            self._end = timeline.left(canceled_at)

    @property
    def emptied(self) -> bool:
        """Whether every message has left the queue: the send is processed."""
        return self._left(0) >= self._timeline.total

    @cached_property
    def tally(self) -> SimulatedTally:
        """Count everything."""
        timeline, shift = self._timeline, self._timeline.shift
        gone = self._left(0)
        waiting = timeline.total - gone
        statuses: Counter[str] = Counter()
        changed_at = timeline.canceled_at if self.canceled else None
        if self.canceled:
            statuses["CANCELED"], waiting = waiting, 0
        for move in timeline.deck.moves:
            made = move.made(self._left(move.lag), shift=shift)
            if not made:
                continue
            statuses[move.after] += made
            if move.before is not None:
                statuses[move.before] -= made
            at = timeline.leaves_at(move.nth(made, shift=shift)) + move.lag
            changed_at = at if changed_at is None or at > changed_at else changed_at
        return SimulatedTally(
            waiting=waiting,
            statuses=statuses,
            attempts=timeline.deck.attempts(self._left, shift=shift),
            changed_at=changed_at,
        )

    def status_of(self, index: int) -> tuple[str | None, float | None]:
        """Return the status of one message, and since when; (None, None) while it is queued."""
        return self.status_along(self.path_of(index), index)

    def status_along(self, path: MessagePath, index: int) -> tuple[str | None, float | None]:
        """Return the same for another path of the message at `index`."""
        if self.canceled and index >= self._end:
            return "CANCELED", self._timeline.canceled_at
        for hop in reversed(path.hops):
            if self.has_left(index, lag=hop.lag):
                return hop.status, self._timeline.leaves_at(index) + hop.lag
        return None, None

    def has_left(self, index: int, *, lag: float) -> bool:
        """Return whether one message left the queue at least `lag` seconds ago."""
        return self._left(lag) > index

    def path_of(self, index: int) -> MessagePath:
        """Return the path of one message."""
        return self._timeline.deck.path_of(index, shift=self._timeline.shift)

    def _left(self, lag: float) -> int:
        """Count the messages that left the queue at least `lag` seconds ago."""
        if lag not in self._lefts:
            self._lefts[lag] = min(self._timeline.left(self.time - lag), self._end)
        return self._lefts[lag]
