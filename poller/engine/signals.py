"""How the loops of a daemon wake each other when something has changed."""

from dataclasses import dataclass, field
from weakref import WeakSet

import anyio


class Wakeup:
    """Wakes one waiter. A call of `wake` before the wait ends the wait at once."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def wake(self) -> None:
        """Wake the waiter, or the next one."""
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        """Wait for `wake`, at most this long; False where it was not called."""
        with anyio.move_on_after(seconds):
            await self._event.wait()
        if not self._event.is_set():
            return False
        self._event = anyio.Event()
        return True


class ChangeNotifier:
    """Wakes all listeners; one that listens before a change does not miss it."""

    def __init__(self) -> None:
        self._wakeups: WeakSet[Wakeup] = WeakSet()

    def listen(self) -> Wakeup:
        """Return a wakeup that `notify` wakes, for as long as the caller keeps a reference."""
        wakeup = Wakeup()
        self._wakeups.add(wakeup)
        return wakeup

    def notify(self) -> None:
        """Wake all listeners."""
        for wakeup in self._wakeups:
            wakeup.wake()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """The changes that the loops of a daemon wait for.

    `polls`: something may be due at the API. `deliveries`: something may be due at a sink.
    `events`: events were committed. `progress`: the daemon may have become idle. `stopping` is set
    when the daemon begins to stop.
    """

    polls: ChangeNotifier = field(default_factory=ChangeNotifier)
    deliveries: ChangeNotifier = field(default_factory=ChangeNotifier)
    events: ChangeNotifier = field(default_factory=ChangeNotifier)
    progress: ChangeNotifier = field(default_factory=ChangeNotifier)
    stopping: anyio.Event = field(default_factory=anyio.Event)

    def notify_recorded(self) -> None:
        """Report that events were committed: streams, sinks and the idle check query the store."""
        self.events.notify()
        self.deliveries.notify()
        self.progress.notify()
