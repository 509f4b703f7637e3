"""The heart: what was known and a new answer make the new state and the events to record.

Pure. `observe` is called with the state *found in the locked row*, so that two observers of one
operation can never count a delta or a sequence number twice. The rules are those of the design's
"Observing an operation"; `accept_answer` takes an answer in, `transitions` makes the
events, `explaining` reads what failed after the end.
"""

from datetime import datetime

from poller.tracking.accept import accept_answer
from poller.tracking.answer import Answer
from poller.tracking.decision import Decision, Verdict
from poller.tracking.explaining import explain
from poller.tracking.pacing import Policy, next_look
from poller.tracking.transitions import Transition
from poller.tracking.watch import Phase, Watch

__all__ = ["Decision", "Verdict", "observe"]


def observe(
    watch: Watch, answer: Answer, *, policy: Policy, now: datetime, jitter: float
) -> Decision:
    """Judge one answer about `watch`.

    `now` is the moment of recording, `jitter` a random number in [0, 1) for the pacing.
    """
    if not watch.is_watched:
        return Decision(watch=watch, events=(), verdict=Verdict.LATE)
    if watch.phase is Phase.EXPLAINING:
        decision = explain(watch, answer, policy=policy, now=now)
    else:
        known, verdict = accept_answer(watch, answer, policy=policy, now=now)
        turn = Transition(known, answer, policy=policy, now=now)
        turn.tell(accepted=verdict in {Verdict.CHANGED, Verdict.UNCHANGED})
        decision = Decision(watch=turn.watch, events=tuple(turn.events), verdict=verdict)
    if not decision.watch.is_watched or decision.verdict is Verdict.LATE:
        return decision
    moved = decision.verdict is Verdict.CHANGED
    schedule = next_look(decision.watch, moved=moved, policy=policy, now=now, jitter=jitter)
    return Decision(
        watch=decision.watch.evolve(next_poll=schedule),
        events=decision.events,
        verdict=decision.verdict,
    )
