"""The sample campaign of the demo: three sends of different fates, and when each of them ends."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from poller.simulator import Scenario, SimulatedOperation, SimulatorConfig, World

__all__ = ["CAMPAIGN", "CONFIG", "Send", "launch"]

# So fast that a receipt follows its message at once: what is processed is also delivered.
CONFIG: Final = SimulatorConfig(speed=200.0)
"""The demo's simulator; its seed makes every demo the same."""

_LAST_END: Final = 16.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """One send: `starts` seconds after the launch (0: at once) it begins, at `ends` it is over."""

    name: str
    recipients: int
    plot: str
    fate: Scenario
    starts: float = 0.0
    ends: float
    explained: bool = False
    """Whether the demo also reads why some failed."""

    @property
    def paced(self) -> Scenario:
        """Its fate, at the pace that makes it end in time."""
        part = 1.0 if self.fate.canceled_at is None else self.fate.canceled_at
        return replace(self.fate, seconds=(self.ends - self.starts) * CONFIG.speed / part)


# The last two end at the same moment: whichever is seen first, no other event follows their ends.
CAMPAIGN: Final = (
    Send(
        name="autumn",
        recipients=400,
        plot="some fail, and why",
        fate=Scenario(failed=0.03, undelivered=0.03),
        ends=10.0,
        explained=True,
    ),
    Send(
        name="survey",
        recipients=300,
        plot="scheduled first",
        fate=Scenario(failed=0.01),
        starts=5.0,
        ends=_LAST_END,
    ),
    Send(
        name="coupon",
        recipients=500,
        plot="canceled half-way",
        fate=Scenario(undelivered=0.02, canceled_at=0.5),
        ends=_LAST_END,
    ),
)


def launch(world: World) -> Mapping[str, SimulatedOperation]:
    """Begin every send of the campaign now; returns the operations by the names of their sends."""
    now = world.now()
    return {
        send.name: world.send(
            recipients=send.recipients,
            fate=send.paced,
            scheduled_for=now + timedelta(seconds=send.starts) if send.starts else None,
            tags={"campaign": send.name},
        )
        for send in CAMPAIGN
    }
