"""What the options of `poller run` mean: all that this daemon watches, or what they register."""

import pytest

from poller.cli.app import app
from poller.cli.commands import run as run_module
from poller.cli.commands.run import Job
from poller.settings import Settings, SettingsLoader
from tests.cli.surroundings import Surroundings
from tests.store.scenes import op

Called = tuple[Settings, Job]


@pytest.fixture
def called(here: Surroundings, monkeypatch: pytest.MonkeyPatch) -> list[Called]:
    """Collect with which settings and job a daemon would run."""
    here.set(TWILIO_ACCOUNT_SID="AC1", TWILIO_AUTH_TOKEN="t")
    calls: list[Called] = []

    def run_daemon(source: SettingsLoader, job: Job) -> int:
        calls.append((source.load().settings, job))
        return 0

    monkeypatch.setattr(run_module, "run_daemon", run_daemon)
    return calls


def run(*options: str) -> None:
    """Call it."""
    with pytest.raises(SystemExit) as ended:
        app(["run", *options])
    assert ended.value.code == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), True),
        (("--breakdown",), True),
        (("--no-breakdown",), False),
        (("--set", "polling.breakdown=true", "--no-breakdown"), False),
    ],
)
def test_breakdown_is_the_setting_of_this_daemon(
    called: list[Called], here: Surroundings, options: tuple[str, ...], *, expected: bool
) -> None:
    """So it holds for what is discovered, on standard input, or registered by others as well.

    No registration gets a breakdown of its own, which would outlive this run.
    """
    here.set(POLLER_POLLING__BREAKDOWN="true")
    run(*options, "--stdin", op(1))
    ((settings, job),) = called
    assert settings.polling.breakdown is expected
    assert (job.defaults.breakdown, job.registrations[0].breakdown) == (None, None)


def test_discover_is_the_setting_of_this_daemon(called: list[Called]) -> None:
    """Like `polling.discover`."""
    run("--discover")
    assert called[0][0].polling.discover


def test_kind_and_label_are_those_of_what_it_registers(called: list[Called]) -> None:
    """On the command line and on standard input alike."""
    run("--kind", "emails", "--label", "campaign=autumn", "--stdin", op(1))
    ((_, job),) = called
    (registration,) = job.registrations
    assert (registration.kind, registration.labels) == ("emails", {"campaign": "autumn"})
    assert (job.defaults.kind, job.defaults.labels) == ("emails", {"campaign": "autumn"})
