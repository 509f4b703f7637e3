"""What is made of the settings about messages."""

import pytest
from pydantic import ValidationError

from poller.settings.model import PollingSettings


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (True, "masked"),
        ("true", "masked"),
        (False, "hidden"),
        ("FALSE", "hidden"),
        ("Masked", "masked"),
        ("full", "full"),
    ],
)
def test_whoever_asks_for_addresses_gets_them_masked(given: object, meant: str) -> None:
    """Whole ones have to be asked for by their name."""
    assert PollingSettings.model_validate({"include_addresses": given}).include_addresses == meant


@pytest.mark.parametrize("given", ["yes", 1, None, "all"])
def test_a_word_that_means_nothing_is_refused(given: object) -> None:
    """Nobody should wonder what is shown."""
    with pytest.raises(ValidationError, match="'hidden', 'masked' or 'full'"):
        PollingSettings.model_validate({"include_addresses": given})


def test_nothing_personal_is_shown_by_default() -> None:
    """And nothing is read that nobody asked for."""
    polling = PollingSettings()
    assert (polling.include_addresses, polling.breakdown) == ("hidden", False)
