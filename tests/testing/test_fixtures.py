"""The fixtures for applications: the page about them and the example run as they stand."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from poller.simulator import SCENARIOS
from poller.testing import CommsSimulator, Scenario
from tests.fakes.forked import Forked

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "config/testing.md").read_text()
PLUGIN = "poller.testing.plugin"


OPTIONS = ("-q", "-p", PLUGIN, "-c", "/dev/null", "-p", "no:cacheprovider")
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "PYTHONDONTWRITEBYTECODE": "1",
    # plugins of others, which our own tests use
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
}


def test_the_code_of_the_page_runs_and_the_example_passes(tmp_path: Path) -> None:
    """Every block is a file of tests, which says its name in its first line."""
    blocks = re.findall(r"```python\n# (test_\w+\.py)\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == PAGE.count("```python")
    for name, block in blocks:
        (tmp_path / name).write_text(block)
    example = ROOT / "deploy/examples/testing"
    for file in example.glob("*.py"):
        (tmp_path / file.name).write_text(file.read_text())
    run = (*OPTIONS, f"--rootdir={tmp_path}")
    environment = {"PATH": os.environ["PATH"], **ENVIRONMENT}
    with Forked(*run, module="pytest", cwd=tmp_path, env=environment) as process:
        out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    assert re.search(r"\b12 passed", out)


def test_the_scenarios_of_the_page_are_all_there_are() -> None:
    """With what the simulator says of them."""
    rows = dict(re.findall(r"\| `(\w+)` \| ([^|]+) \|", PAGE.partition("### Scenarios")[2]))
    described = {name: scenario.description for name, scenario in SCENARIOS.items()}
    assert rows.items() >= described.items()
    assert all(described.values())


def test_the_plugin_costs_nothing_before_it_is_used(tmp_path: Path) -> None:
    """It is loaded in every run of pytest where the package is installed."""
    (tmp_path / "test_cost.py").write_text(
        "import sys\n"
        "def test_cost():\n"
        "    heavy = {'anyio', 'fastapi', 'httpx', 'pydantic', 'sqlalchemy', 'structlog'}\n"
        "    assert not heavy & set(sys.modules)\n"
        "    assert 'poller.testing.plugin' in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS, f"--rootdir={tmp_path}"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        check=True,
        timeout=240,
    )


def test_pytest_finds_the_plugin() -> None:
    """Under the name of its module, so that naming it with `-p` as well does no harm."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {PLUGIN: PLUGIN}


def test_each_code_asked_for_surely_happens() -> None:
    """Of as few recipients as codes; fewer are refused."""
    codes = [30003, 21610, 63016, 12345]
    with CommsSimulator() as simulator:
        operation = simulator.send(4, failing_with=codes)
        simulator.advance(60)
        assert simulator.expected(operation).codes == dict.fromkeys(sorted(codes), 1)
        many = simulator.send(1001, failing_with=codes[:3])
        simulator.advance(600)
        assert sum(simulator.expected(many).codes.values()) == 1001
        with pytest.raises(ValueError, match="4 codes in turn need at least as many recipients"):
            simulator.send(3, failing_with=codes)
        with pytest.raises(ValueError, match="less than an hour"):
            simulator.advance(3600)
    with pytest.raises(RuntimeError, match="not running"):
        simulator.send()


@pytest.mark.parametrize(
    "wrong", [{"each": (1, 1)}, {"each": (0,)}, {"each": (30003,), "failed": 0.5}]
)
def test_codes_in_turn_are_checked(wrong: dict[str, tuple[int, ...]]) -> None:
    """As all shares are."""
    with pytest.raises(ValueError, match="fate"):
        Scenario(**wrong)  # type: ignore[arg-type]
