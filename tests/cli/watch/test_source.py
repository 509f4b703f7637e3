"""Where news for `poller watch` come from: the daemon, where it knows the operations."""

import pytest
from anyio import run

from poller.cli.session import Target
from poller.cli.watch.source import live_policy, open_feed
from poller.clock import wall_clock
from poller.control.errors import WrongKind
from poller.settings import SettingsLoader
from poller.tracking.pacing import Policy
from poller.tracking.registration import Registration, register
from poller.tracking.watch import AccountScope
from tests.cli.surroundings import Surroundings
from tests.control.fake_daemon import A, Asked, FakeDaemon, Reply, document


def test_a_kind_that_the_daemon_contradicts_is_refused(here: Surroundings) -> None:
    """Nothing is watched under a kind that the operation does not have."""
    here.set(TWILIO_ACCOUNT_SID="AC1", TWILIO_AUTH_TOKEN="t")
    source = SettingsLoader(None, ())
    registration = Registration(id=A, kind="emails")
    scope = AccountScope(account="AC1", base_url="https://x.test")
    watch, _ = register(None, registration, scope=scope, now=wall_clock())

    def answer(asked: Asked) -> Reply:
        return Reply(body={"sinks": []} if asked.path == "/v1/sinks" else document(A))

    loaded = source.load().settings

    async def open_it(url: str) -> None:
        async with open_feed(loaded, source, Target(url), [watch], live=True):
            pass

    with FakeDaemon(answer) as daemon, pytest.raises(WrongKind, match="leave --kind out"):
        run(open_it, str(daemon.address))


@pytest.mark.parametrize(
    ("overrides", "number", "expected"),
    [
        ((), 3, (2.0, 5.0)),
        ((), 10, (4.0, 5.0)),
        ((), 13, (1.0, 60.0)),
        (("api.requests_per_second=1",), 3, (1.0, 60.0)),
        (("polling.max_interval=30s",), 3, (1.0, 60.0)),
    ],
)
def test_a_handful_is_polled_every_few_seconds(
    here: Surroundings, overrides: tuple[str, ...], number: int, expected: tuple[float, float]
) -> None:
    """Within half of the budget, and where the settings name no interval."""
    here.set(TWILIO_ACCOUNT_SID="AC1", TWILIO_AUTH_TOKEN="t")
    settings = SettingsLoader(None, list(overrides)).load().settings
    policy = live_policy(Policy(), settings, number)
    assert (policy.min_interval, policy.max_interval) == expected
