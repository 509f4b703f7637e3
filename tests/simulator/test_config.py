"""Settings are checked where they are made; credentials repeat with the seed."""

from typing import Any

import pytest

from poller.simulator import Faults, SimulatorConfig


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rate_429", -0.1),
        ("rate_broken", 1.1),
        ("rate_slow", "1"),
        ("rate_500", True),
        ("retry_after", -1),
        ("slow_seconds", float("nan")),
        ("max_concurrency", 0),
        ("max_concurrency", 1.5),
        ("speed", 0),
        ("fate", "none"),
        ("shape", ("odd",)),
        ("shape", ("page-urls", "meta-urls")),
    ],
)
def test_a_bad_value_is_named(name: str, value: Any) -> None:  # noqa: ANN401 - bad on purpose
    """A refusal names the field."""
    with pytest.raises(ValueError, match=name):
        SimulatorConfig(**{{"shape": "shapes"}.get(name, name): value})


def test_rates_share_one_request() -> None:
    """More faults than requests are refused."""
    with pytest.raises(ValueError, match="add up"):
        Faults(rate_429=0.6, rate_503=0.6)


def test_credentials_come_from_the_seed_unless_given() -> None:
    """The same seed accepts the same pairs; given ones are kept; no repr shows a secret."""
    config = SimulatorConfig(seed=4)
    assert config == SimulatorConfig(seed=4) != SimulatorConfig(seed=5)
    assert config.accepts(config.account_sid, config.auth_token)
    assert config.accepts(config.api_key, config.api_secret)
    assert not config.accepts(config.account_sid, config.api_secret)
    assert SimulatorConfig(account_sid="AC1", auth_token="t").accepts("AC1", "t")
    assert config.auth_token not in repr(config)
    assert config.api_secret not in repr(config)
