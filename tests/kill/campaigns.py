"""Operations that go on for as long as a test kills: how far they may come is the test's to say.

The run is divided into phases. Each operation has its phase to end in, and until then it moves a
step at every second look, as far as the phase allows. So something is under way at every kill,
whatever the speed of the machine, and the test knows every counter beforehand.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.fakes.api import FakeApi, Reply, envelope, operation, operation_id

__all__ = ["Campaign", "Campaigns"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """One operation: its snapshots, the end the last of them, and the phase it ends in."""

    id: str
    snapshots: tuple[dict[str, Any], ...]
    ends_in: int

    @property
    def end(self) -> dict[str, Any]:
        """The last snapshot."""
        return self.snapshots[-1]

    def reached(self, *, looks: int, phase: int) -> dict[str, Any]:
        """Return what a look sees that `looks` looks came before."""
        last = len(self.snapshots) - 1
        allowed = last if phase >= self.ends_in else (last - 1) * (phase + 1) // (self.ends_in + 1)
        return self.snapshots[min(looks, allowed)]


class Campaigns(FakeApi):
    """An API with this many campaigns, all of them from one seed.

    `still` more do not move before the last phase.
    """

    def __init__(self, *, seed: int, number: int, phases: int, steps: int, still: int = 0) -> None:
        super().__init__()
        chance = Random(seed)  # noqa: S311 - repeatable with the seed
        self.phase = 0
        self.campaigns = {
            campaign.id: campaign
            for campaign in (
                _campaign(chance, operation_id(number), phases=phases, steps=steps)
                for number in range(1, number + 1)
            )
        }
        self.still = [operation_id(number + 1 + one) for one in range(still)]
        self.campaigns |= {name: _still_campaign(name, phases=phases) for name in self.still}
        self._looks = dict.fromkeys(self.campaigns, 0)

    def answer(self, path: str, authorization: str | None) -> Reply:
        """Answer with how far the operation has come, or with a list of all."""
        name = path.partition("?")[0].rpartition("/")[2]
        with self._lock:
            self.requests.append(path)
        if authorization is None:
            return Reply(status=401, body=envelope(20003, "Authenticate"))
        if name == "Operations":
            found = [self._look(one) for one in self.campaigns]
            return Reply(body={"operations": found, "pagination": {"next": None, "self": "x"}})
        if name in self.campaigns:
            return Reply(body=self._look(name))
        return Reply(status=404, body=envelope(20404, "The resource was not found"))

    def _look(self, name: str) -> dict[str, Any]:
        with self._lock:
            looks = self._looks[name]
            self._looks[name] += 1
        return self.campaigns[name].reached(looks=looks, phase=self.phase)


def _snapshot(name: str, status: str, updated: int, counters: Mapping[str, int]) -> dict[str, Any]:
    return operation(name, status, updated=updated, created=None, **counters)


def _still_campaign(name: str, *, phases: int) -> Campaign:
    begun = _snapshot(name, "PROCESSING", 1, {"total": 500, "queued": 500})
    end = _snapshot(name, "COMPLETED", 9999, {"total": 500, "delivered": 500})
    return Campaign(id=name, snapshots=(begun, end), ends_in=phases)


def _campaign(chance: Random, name: str, *, phases: int, steps: int) -> Campaign:
    total = chance.randint(50, 5000)
    snapshots = []
    if chance.random() < 0.3:
        snapshots.append(operation(name, "SCHEDULED", total=total, scheduled=total))
    sent = failed = 0
    failing = chance.choice((0, 0, 0.04, 0.3))
    for step in range(steps):
        sent = min(total, sent + chance.randint(1, max(1, total // steps)))
        failed = int(sent * failing)
        # a delivered message may turn out to be none: counters fall as well
        delivered = max(0, sent - failed - chance.randint(0, 20))
        counters = {"queued": total - sent, "sent": sent - failed - delivered}
        counters |= {"delivered": delivered, "failed": failed, "total": total, "attempts": step}
        snapshots.append(_snapshot(name, "PROCESSING", step + 1, counters))
    failed = max(failed, chance.randint(0, total // 10))
    if chance.random() < 0.25:
        lost = min(failed, sent)
        ending = {"delivered": sent - lost, "failed": lost, "canceled": total - sent}
        end = _snapshot(name, "CANCELED", 9999, {"total": total, **ending})
    else:
        ending = {"delivered": total - failed, "failed": failed}
        end = _snapshot(name, "COMPLETED", 9999, {"total": total, **ending})
    return Campaign(id=name, snapshots=(*snapshots, end), ends_in=chance.randint(0, phases))
