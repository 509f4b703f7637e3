"""Pacing in virtual time: requests against detection delay, beside the schedules of others.

Each operation is watched alone, but for the last policy: there all of a workload share one account
and the default budget, begun within ten minutes.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from poller.tracking.observe import observe
from poller.tracking.pacing import Policy, take_hint
from poller.tracking.registration import Registration, register
from poller.tracking.watch import AccountScope, HintStrength, Watch
from tests.benchmarks.together import RETRY_AFTER, watch_together
from tests.benchmarks.workloads import START, WORKLOADS, Course, seconds_after

__all__ = ["FORECAST", "GITHUB", "GOOGLE", "HINTED", "PLAIN", "TOGETHER", "Figures", "measure"]

Watcher = Callable[[Course, Random], tuple[int, float]]
Hints = list[tuple[float, HintStrength]]
_LOST: Final = 0.05
_OFTEN: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one policy cost on one workload: requests per operation, delays in seconds."""

    workload: str
    policy: str
    requests: float
    p50: float
    p95: float
    p99: float
    worst: float


def measure(
    *, operations: int, together: int, seed: int, workloads: Collection[str] = WORKLOADS.keys()
) -> Iterator[Figures]:
    """Run every policy over these workloads; the same seed gives the same figures.

    `operations` are watched alone, `together` as a fleet.
    """
    for workload in workloads:
        make = WORKLOADS[workload]
        random = Random(seed)  # noqa: S311 - a benchmark must be repeatable
        courses = [make(random, number) for number in range(operations)]
        for policy, watcher in POLICIES.items():
            chance = Random(seed)  # noqa: S311 - as above
            results = [watcher(course, chance) for course in courses]
            requests = sum(requests for requests, _ in results) / len(results)
            yield _figures(workload, policy, requests, [delay for _, delay in results])
        chance = Random(seed)  # noqa: S311 - as above
        fleet = [make(chance, number) for number in range(together)]
        requests, delays = watch_together(fleet, chance)
        yield _figures(workload, TOGETHER, requests, delays)


def _figures(workload: str, policy: str, requests: float, delays: Sequence[float]) -> Figures:
    ordered = sorted(delays)

    def quantile(part: float) -> float:
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]

    return Figures(
        workload=workload,
        policy=policy,
        requests=requests,
        p50=quantile(0.5),
        p95=quantile(0.95),
        p99=quantile(0.99),
        worst=ordered[-1],
    )


def _waiting(waits: Callable[[Random], Iterator[float]]) -> Watcher:
    """Make the watcher that follows a schedule whatever it sees."""

    def watch(course: Course, random: Random) -> tuple[int, float]:
        schedule = waits(random)
        # operations are not created in step with anybody's clock
        at, requests = random.uniform(0, 1), 0
        while True:
            requests += 1
            if not course.is_stormy(at) and at >= course.ended_at:
                return requests, at - course.ended_at
            at += next(schedule)

    return watch


def _fixed(seconds: float) -> Watcher:
    def waits(_random: Random) -> Iterator[float]:
        while True:
            yield seconds

    return _waiting(waits)


def _growing(first: float, factor: float, longest: float) -> Watcher:
    def waits(_random: Random) -> Iterator[float]:
        wait = first
        while True:
            yield wait
            wait = min(wait * factor, longest)

    return _waiting(waits)


def _aws(random: Random) -> Iterator[float]:
    """AWS waiters v2: a random wait between 2 s and min(120 s, 2 s · 2ⁿ)."""
    attempt = 1
    while True:
        yield random.uniform(2, min(120.0, 2.0 * 2**attempt))
        attempt = min(attempt + 1, 10)


def _ours(policy: Policy, *, hints: Callable[[Course, Random], Hints] | None = None) -> Watcher:
    """Watch with the project's own tracking, as the daemon does; `hints` are what is pushed."""

    def watch(course: Course, random: Random) -> tuple[int, float]:
        at = random.uniform(0, 1)
        pushed = [] if hints is None else hints(course, random)
        registration = Registration(id=course.name, kind="messages")
        home = AccountScope(account="AC", base_url="http://api.test/v1")
        state, _ = register(None, registration, scope=home, now=seconds_after(at))
        requests = 0
        while True:
            requests += 1
            now = seconds_after(at)
            if course.is_stormy(at):
                # the account pauses, then the same is asked again
                at += RETRY_AFTER
                continue
            answer = course.answer(state, at, now=now)
            state = observe(state, answer, policy=policy, now=now, jitter=random.random()).watch
            if not state.is_watched:
                return requests, at - course.ended_at
            while pushed and pushed[-1][0] <= _due(state):
                moment, strength = pushed.pop()
                now = seconds_after(max(at, moment))
                state = take_hint(state, strength, policy=policy, now=now) or state
            at = _due(state)

    return watch


def _due(state: Watch) -> float:
    return (state.next_poll.due_at - START).total_seconds()


def _pushed(course: Course, random: Random) -> Hints:
    """Return what the vendor pushes about an operation, the last first; some of it is lost.

    There is nothing about a cancellation.
    """
    return _delivered([course.begins, *_ends(course)], HintStrength.DIRECT, random)


def _pushed_with_messages(course: Course, random: Random) -> Hints:
    """Return the same with what is pushed about its messages: here about every part of them."""
    messages = _delivered(course.finishing, HintStrength.INDIRECT, random)
    return sorted([*_pushed(course, random), *messages], reverse=True)


def _ends(course: Course) -> list[float]:
    return [course.ended_at] if course.end == "COMPLETED" else []


def _delivered(moments: Sequence[float], strength: HintStrength, random: Random) -> Hints:
    """Push each once, a tenth twice, a twentieth never; one of ten comes up to a minute late."""
    hints = []
    for moment in moments:
        for _ in range(0 if random.random() < _LOST else 1 + (random.random() < _OFTEN)):
            late = random.uniform(2, 60) if random.random() < _OFTEN else random.uniform(0.1, 2)
            hints.append((moment + late, strength))
    return sorted(hints, reverse=True)


GOOGLE: Final = "1 s × 1.5 ≤ 20 s (google-api-core)"
GITHUB: Final = "fixed 3 s (gh run watch)"
PLAIN: Final = "ours, plain backoff"
FORECAST: Final = "ours, forecast"
HINTED: Final = "ours, with hints about operations"
HINTED_BY_MESSAGES: Final = "ours, with hints about messages too"
TOGETHER: Final = "ours, with sweeps"
POLICIES: Final[Mapping[str, Watcher]] = {
    GITHUB: _fixed(3),
    "fixed 5 s": _fixed(5),
    "fixed 15 s (botocore waiters)": _fixed(15),
    "fixed 30 s (azure-core)": _fixed(30),
    GOOGLE: _growing(1, 1.5, 20),
    "random ≤ 120 s (AWS waiters v2)": _waiting(_aws),
    "0.1 s × 2 ≤ 10 s (Terraform)": _growing(0.1, 2, 10),
    PLAIN: _ours(Policy(forecast=False)),
    FORECAST: _ours(Policy()),
    "ours, forecast, max_interval = 15 s": _ours(Policy(max_interval=15)),
    HINTED: _ours(Policy(), hints=_pushed),
    HINTED_BY_MESSAGES: _ours(Policy(), hints=_pushed_with_messages),
}
