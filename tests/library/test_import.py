"""`import poller` costs next to nothing, and offers what it says."""

import subprocess
import sys

import pytest

import poller

HEAVY = {"anyio", "asyncio", "fastapi", "httpx", "pydantic", "pytest", "sqlalchemy", "structlog"}


def test_importing_it_imports_nothing_heavy() -> None:
    """A program pays for what it uses, when it uses it."""
    code = "import poller, sys; dir(poller); poller.__version__; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not HEAVY & set(run.stdout.split())


@pytest.mark.parametrize("name", poller.__all__)
def test_what_it_offers_is_there(name: str) -> None:
    """Under the name that its documentation has."""
    value = getattr(poller, name)
    assert getattr(value, "__name__", "__version__") == name
    assert name in dir(poller)


def test_what_it_does_not_offer() -> None:
    """It is missed as in every module."""
    with pytest.raises(AttributeError, match="no attribute 'Pollster'"):
        _ = poller.Pollster  # type: ignore[attr-defined]
