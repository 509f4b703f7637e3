"""The events that one observation makes, and the watch after them. Pure."""

from datetime import datetime, timedelta
from typing import Final

from poller.tracking.alert import emit_alert, judge_counters, may_fire
from poller.tracking.answer import Answer
from poller.tracking.breakdown.reading import begin_breakdown, wants_breakdown
from poller.tracking.event import Event, emit
from poller.tracking.lifecycle import LIFECYCLES, EventType, PhaseChange, change_phase, lifecycle_of
from poller.tracking.lost import lost_reason
from poller.tracking.pacing import Policy
from poller.tracking.watch import Outcome, Phase, ResourceType, Watch

_RECIPIENTS: Final = "recipients"
_FINAL_OF_MESSAGES: Final = LIFECYCLES[ResourceType.MESSAGE].terminal


class Transition:
    """Applies one accepted or refused answer. `watch` and `events` are the result."""

    def __init__(self, watch: Watch, answer: Answer, *, policy: Policy, now: datetime) -> None:
        self.watch = watch
        self.events: list[Event] = []
        self._answer = answer
        self._policy = policy
        self._now = now
        self._lifecycle = lifecycle_of(watch.resource_type)

    def apply(self, *, accepted: bool) -> None:
        """Emit the events of this observation, and end the watch where it has ended."""
        if accepted:
            self._fire_alerts()
            self._apply_change()
        if self.watch.phase is Phase.SETTLING:
            self._apply_settling(accepted=accepted)
        elif self.watch.phase is Phase.ACTIVE:
            if (outcome := group_outcome(self.watch)) is not None:
                self._end(outcome, self._lifecycle.settled)
            else:
                self._end_if_lost()

    def _fire_alerts(self) -> None:
        for rule in self._policy.alerts:
            if may_fire(rule, self.watch):
                watch = self.watch
                alert = judge_counters(rule, watch.counters, finished=watch.progress.done)
                if alert is not None:
                    self.watch, event = emit_alert(watch, alert, now=self._now)
                    self.events.append(event)

    def _apply_change(self) -> None:
        watch = self.watch
        status = watch.status
        if status is None:
            return
        if status == watch.emitted.status:
            settles = watch.phase is Phase.SETTLING or group_outcome(watch) is not None
            if watch.unemitted and not settles and self._may_progress():
                self._emit(self._lifecycle.progress)
            return
        event_type = self._lifecycle.event_type(status)
        outcome = self._lifecycle.terminal.get(status)
        if outcome is None or watch.phase is Phase.SETTLING:
            self._emit(event_type)
        elif status in self._lifecycle.lasting and self._policy.settle > 0:
            self._emit(event_type)
            self.watch = change_phase(self.watch, PhaseChange.SETTLE, now=self._now).evolve(
                outcome=outcome,
                settle_until=self._now + timedelta(seconds=self._policy.settle),
            )
        else:
            self._end(outcome, event_type)

    def _apply_settling(self, *, accepted: bool) -> None:
        watch = self.watch
        until = watch.settle_until
        if (accepted and self._is_settled()) or until is None or self._now >= until:
            self._end(Outcome.COMPLETED, self._lifecycle.settled)
        elif accepted and watch.unemitted and self._may_progress():
            self._emit(self._lifecycle.progress)

    def _is_settled(self) -> bool:
        """Return whether no receipt can change a counter any more."""
        if self.watch.status not in self._lifecycle.lasting:
            return True
        if self.watch.resource_type is ResourceType.MESSAGE:
            return False
        return not self.watch.progress.open

    def _may_progress(self) -> bool:
        last = self.watch.emitted.progress_at
        # a last progress in the future means that the clock went back: it is ignored
        return (
            last is None
            or last > self._now
            or self._now >= last + timedelta(seconds=self._policy.progress_interval)
        )

    def _end_if_lost(self) -> None:
        reason = lost_reason(self.watch, self._answer, policy=self._policy, now=self._now)
        if reason is not None:
            self._end(Outcome.LOST, self._lifecycle.lost, reason=reason)

    def _end(self, outcome: Outcome, event_type: EventType, reason: str | None = None) -> None:
        self._emit(event_type, final=True, reason=reason)
        ended = self.watch.evolve(outcome=outcome, settle_until=None)
        if wants_breakdown(ended, self._policy):
            self.watch = begin_breakdown(ended, now=self._now)
        else:
            self.watch = change_phase(ended, PhaseChange.END, now=self._now)

    def _emit(
        self, event_type: EventType, *, final: bool = False, reason: str | None = None
    ) -> None:
        self.watch, event = emit(self.watch, event_type, now=self._now, final=final, reason=reason)
        self.events.append(event)


def group_outcome(watch: Watch) -> Outcome | None:
    """Return how a group message ended; None where it has not, and for everything else."""
    counters = watch.counters
    if watch.resource_type is not ResourceType.MESSAGE or watch.status != "GROUP":
        return None
    if not counters.get(_RECIPIENTS):
        return None
    ended = {
        outcome
        for status, outcome in _FINAL_OF_MESSAGES.items()
        if counters.get(status.lower(), 0) > 0
    }
    finished = sum(counters.get(status.lower(), 0) for status in _FINAL_OF_MESSAGES)
    if finished < counters[_RECIPIENTS]:
        return None
    # a group message that reached any recipient is completed
    best = (Outcome.COMPLETED, Outcome.FAILED, Outcome.CANCELED)
    return next(outcome for outcome in best if outcome in ended)
