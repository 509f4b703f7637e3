"""What tests share: the backend of anyio, guards, what is left out, and a PostgreSQL server."""

import gc
import importlib
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import structlog
from blockbuster import blockbuster_ctx

from poller.cli.logs import LibraryLogs
from tests.examples import load_profiles
from tests.fakes import defects, statements
from tests.store.cluster import Cluster, NoServer, running

# what collection makes stays to the end: looking for garbage among it costs seconds
gc.disable()
defects.listen()
statements.share()
load_profiles()
# a shell ignores it for what it starts in the background, and so would every command under test
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes long, unless `-m` or the command line names it.

    `make slow`, `make soak` and `make image-test` run it.
    """
    asked = config.getoption("markexpr", "")
    named = {"slow"} if any("::" in argument for argument in config.args) else set()
    left_out = {one for one in ("slow", "soak", "image") if one not in asked} - named
    chosen = [one for one in items if left_out.isdisjoint(mark.name for mark in one.iter_markers())]
    config.hook.pytest_deselected(items=list({*items} - {*chosen}))
    items[:] = chosen


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Import a part of the test modules first, another part in each worker.

    What one worker compiles on the way the others find: else each of them compiles everything at
    the same time, which is most of what collecting takes in a fresh checkout.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if not worker.startswith("gw"):
        return
    root = Path(__file__).parents[1]
    chosen = [root / argument.partition("::")[0] for argument in session.config.args]
    found = {one for path in chosen for one in (path, *path.rglob("test_*.py"))}
    modules = sorted(one for one in found if one.suffix == ".py")
    for path in modules[int(worker[2:]) :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])]:
        if not _is_left_out(path, session.config):
            # what is wrong with it is reported when it is collected
            with suppress(Exception, pytest.skip.Exception):
                importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the slow tests of the page unless asked for: importing their library takes long."""
    return True if _is_left_out(collection_path, config) else None


def _is_left_out(path: Path, config: pytest.Config) -> bool:
    if not path.is_relative_to(Path(__file__).with_name("page")):
        return False
    asked = "slow" in config.getoption("markexpr", "")
    return not asked and not any("tests/page" in one for one in config.args)


def pytest_collection_finish() -> None:
    """Collect garbage again, but only among what the tests make."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Core code is written against anyio and runs on asyncio."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_defects(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which a `*.defect` or a traceback is logged, here or in a process it started.

    A test that provokes one on purpose is marked `@pytest.mark.defects("the reason")`.
    """
    yield
    found = defects.taken()
    if request.node.get_closest_marker("defects") is None:
        assert not found, "\n".join(found)


@pytest.fixture(autouse=True, scope="session")
def _no_blocking_calls() -> Iterator[None]:
    """Fail an async test whose code blocks the event loop, as a slow disk would in production."""
    with blockbuster_ctx("poller"):
        yield


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Take back how a command set up the logs: the stream it chose is closed when its test ends."""
    yield
    structlog.reset_defaults()
    root = logging.getLogger()
    root.handlers = [one for one in root.handlers if not isinstance(one, LibraryLogs)]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Run a PostgreSQL server; without one its tests are skipped, or fail where it is required."""
    try:
        with running() as cluster:
            yield cluster
    except NoServer as missing:
        if os.environ.get("POLLER_TEST_REQUIRE_POSTGRES") == "1":
            pytest.fail(f"POLLER_TEST_REQUIRE_POSTGRES is 1, but {missing}")
        pytest.skip(f"no PostgreSQL: {missing}")
