"""Which of many equal failures deserve a log line."""

from datetime import timedelta

import structlog
from structlog.testing import capture_logs

from poller.trouble import Stage, TroubleLog, TroubleReporter
from tests.store.scenes import Clock


def test_a_trouble_begins_goes_on_and_ends() -> None:
    """One line at each of these, with counts; nothing in between."""
    clock, reporter = Clock(), TroubleReporter()
    lines = []
    for _ in range(11):
        if (notice := reporter.failure("a", "full", clock())) is not None:
            lines.append(notice)
        clock.advance(60)
    ended = reporter.success("a", clock())
    assert [(line.stage, line.failures, line.unlogged) for line in lines] == [
        (Stage.BEGINS, 1, 1),
        (Stage.GOES_ON, 6, 5),
        (Stage.GOES_ON, 11, 5),
    ]
    assert ended is not None
    assert (ended.stage, ended.failures, ended.unlogged) == (Stage.ENDS, 11, 0)
    assert ended.since == lines[0].since == clock() - timedelta(minutes=11)
    assert reporter.success("a", clock()) is None


def test_another_kind_is_a_change() -> None:
    """The same subject fails for another reason."""
    clock, reporter = Clock(), TroubleReporter()
    first = reporter.failure("a", "full", clock())
    assert first is not None
    assert reporter.failure("a", "full", clock()) is None
    changed = reporter.failure("a", "locked", clock(), times=3)
    assert changed is not None
    assert (changed.stage, changed.failures, changed.unlogged) == (Stage.CHANGES, 5, 4)


def test_subjects_are_troubles_of_their_own() -> None:
    """A success of one does not end another."""
    clock, reporter = Clock(), TroubleReporter()
    assert reporter.failure("a", "full", clock()) is not None
    assert reporter.failure("b", "full", clock()) is not None
    assert reporter.success("c", clock()) is None
    assert reporter.success("b", clock()) is not None
    assert reporter.failure("a", "full", clock()) is None


def test_what_begins_and_ends_all_the_time_runs_out_of_lines() -> None:
    """Eight at once, then one a minute, and its end is logged only where its beginning was."""
    clock, reporter = Clock(), TroubleReporter()

    def flap() -> tuple[bool, bool]:
        began = reporter.failure("a", "reset", clock())
        return began is not None, reporter.success("a", clock()) is not None

    assert [flap() for _ in range(10)] == [(True, True)] * 8 + [(False, False)] * 2
    clock.advance(60)
    notice = reporter.failure("a", "reset", clock())
    assert notice is not None
    assert notice.unlogged == 3
    assert reporter.success("a", clock()) is not None
    assert flap() == (False, False)


def test_what_is_urgent_needs_no_budget() -> None:
    """It is logged whatever came before."""
    clock, reporter = Clock(), TroubleReporter()
    for kind in range(20):
        reporter.failure("a", kind, clock())
    assert reporter.failure("a", "slow", clock()) is None
    assert reporter.failure("a", "down", clock(), is_urgent=True) is not None


def test_a_success_soon_after_a_failure_ends_nothing_where_many_share() -> None:
    """With `quiet`, a trouble ends after that time without a failure."""
    clock, reporter = Clock(), TroubleReporter(quiet=timedelta(minutes=1))
    assert reporter.failure("a", "full", clock()) is not None
    clock.advance(59)
    assert reporter.success("a", clock()) is None
    clock.advance(1)
    assert reporter.success("a", clock()) is not None


def test_a_clock_that_goes_back_silences_nothing() -> None:
    """The next failure is logged, and the five minutes count from there."""
    clock, reporter = Clock(), TroubleReporter()
    reporter.failure("a", "full", clock())
    clock.advance(hours=-8)
    assert reporter.failure("a", "full", clock()) is not None
    assert reporter.failure("a", "full", clock()) is None


def test_the_memory_is_bounded() -> None:
    """The oldest subject is forgotten, so its next failure begins again."""
    clock, reporter = Clock(), TroubleReporter()
    for subject in range(1001):
        reporter.failure(subject, "full", clock())
    assert reporter.failure(1000, "full", clock()) is None
    begins = reporter.failure(0, "full", clock())
    assert begins is not None
    assert begins.stage is Stage.BEGINS


def test_the_log_keeps_each_failure_at_debug() -> None:
    """What is not worth a line at its level is still found at debug."""
    clock = Clock()
    troubles, log = TroubleLog(clock), structlog.get_logger()
    with capture_logs() as logs:
        for number in range(3):
            troubles.failure(log, "disk.full", subject="a", level="error", number=number)
            clock.advance(200)
        troubles.success(log, "disk.full", "disk.recovered", subject="b")
        troubles.success(log, "disk.full", "disk.recovered", subject="a", path="/a")
    assert logs == [
        {"event": "disk.full", "log_level": "error", "number": 0, "unlogged": 0},
        {"event": "disk.full", "log_level": "debug", "number": 1},
        {"event": "disk.full", "log_level": "error", "number": 2, "unlogged": 1},
        {
            "event": "disk.recovered",
            "log_level": "info",
            "path": "/a",
            "seconds": 600.0,
            "failures": 3,
        },
    ]
