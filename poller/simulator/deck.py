"""How the messages of a send are dealt to paths, so that any prefix can be counted at once.

A deck is a shuffled row of 1,000 cards, each naming a path, repeated as often as a send is long
and begun at a place of its own. How many of the first n messages make a move, and which message
is the k-th to make it, are two look-ups: a send of 10,000 costs as much to count as a send of ten.
"""

import random
from array import array
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from poller.simulator.kinds import SimulatedKind
from poller.simulator.paths import Path, path_ending_in
from poller.simulator.scenarios import SHARES, Scenario

__all__ = ["CARDS", "Deck", "Move", "deck_for"]

CARDS: Final = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """From one status (None: the queue) to the next, `lag` seconds after the message left.

    `counts[m]` of the cards before place `m` make it; `places` are where those cards lie.
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
    """Shuffled cards, each the number of a path, and the moves that these paths consist of.

    `tries` are, for each lag of an attempt, how many are made for the cards before each place.
    """

    paths: Sequence[Path]
    cards: bytes
    moves: Sequence[Move]
    tries: Sequence[tuple[float, Sequence[int]]]

    def path_of(self, index: int, *, shift: int) -> Path:
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
    """Return the deck of a fate; sends of the same kind, fate and seed share it."""
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


def _hands(kind: SimulatedKind, fate: Scenario) -> list[tuple[Path, int]]:
    """Return each path that the fate deals, with its number of cards."""
    outcomes = kind.outcomes
    hands: list[tuple[Path, int]] = []
    for name in SHARES:
        paths = outcomes.get(name, ())
        cards = int(getattr(fate, name) * CARDS + 1e-6)  # down, so that all fit the deck
        for number, path in enumerate(paths):
            size = cards * (number + 1) // len(paths) - cards * number // len(paths)
            hands.append((path, size))
    hands += [
        (path_ending_in(code, outcomes), int(share * CARDS + 1e-6)) for code, share in fate.codes
    ]
    (usual,) = outcomes["delivered"]
    hands.append((usual, CARDS - sum(size for _, size in hands)))
    return [(path, size) for path, size in hands if size]


def _moves(paths: Sequence[Path], cards: Sequence[int]) -> list[Move]:
    """Return every move of every path, each once, with the cards whose path has it."""
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


def _tries(dealt: Sequence[Path]) -> list[tuple[float, Sequence[int]]]:
    """Return for each lag at which any path attempts something the sums along the cards."""
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
