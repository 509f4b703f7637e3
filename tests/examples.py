"""How many examples a property is tried with: few in `make test`, many in `make slow`."""

from typing import Final

from hypothesis import HealthCheck, settings

__all__ = ["load_profiles", "times"]

_FEW: Final = 15
_MANY: Final = 150


def load_profiles() -> None:
    """Register both profiles and load the short one; `--hypothesis-profile=thorough` changes it."""
    # a machine may be shared: how long an example takes says nothing about the code
    patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
    settings.register_profile("quick", patient, max_examples=_FEW)
    settings.register_profile("thorough", patient, max_examples=_MANY)
    settings.load_profile("quick")


def times(factor: float) -> int:
    """Return that many times the number of examples of the profile, at least one."""
    return max(1, round(settings().max_examples * factor))
