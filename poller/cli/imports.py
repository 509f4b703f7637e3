"""What the daemon's modules cost to import: a sixth less than they would by themselves."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["imports_of_a_daemon"]

# structlog takes them for tracebacks that we do not want (`logs`), httpx for a command of its own
_DISPENSABLE: Final = ("rich", "pygments")


@contextmanager
def imports_of_a_daemon() -> Iterator[None]:
    """Import without what libraries take only where it is installed, and collect no garbage.

    Modules are no garbage, but the collector looks at all of them again and again while they
    become more; afterwards it leaves them alone for good.
    """
    # None says that there is no such module: the import system's own rule
    hidden = [name for name in _DISPENSABLE if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type] # typed without that rule
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
        for name in hidden:
            del sys.modules[name]
