"""The alert rules and the dashboard: they name what there is, and Prometheus understands them."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.core import Metric

from poller.cli.app import COMMANDS
from tests.deploy.places import DEPLOY, ROOT
from tests.server.full_page import FullPage

PROMETHEUS = DEPLOY / "prometheus"
RULES = PROMETHEUS / "alerts.yaml"
UNIT_TESTS = PROMETHEUS / "alerts.test.yaml"
DASHBOARD = PROMETHEUS / "dashboard.json"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool comes with Prometheus"
)
_SEVERITIES = {"critical", "warning", "info"}
_LATER = {"counter": ("_total",), "info": ("_info",), "histogram": ("_bucket", "_sum", "_count")}


def promtool(*arguments: str | Path) -> str:
    """Run promtool, which must be content; returns what it said."""
    done = subprocess.run(
        ["promtool", *map(str, arguments)],  # noqa: S607 - where it is differs
        cwd=PROMETHEUS,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _source() -> str:
    """Read the engine, whose log events runbooks name."""
    return "".join(path.read_text() for path in (ROOT / "poller/engine").glob("*.py"))


def alerts() -> list[dict[str, Any]]:
    """Read the rules."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Read the panels that show something."""
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if "targets" in panel]


def dashboard_expressions() -> Iterator[str]:
    """Find every expression of the dashboard, those of variables and annotations included."""
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]
    yield from (one["expr"] for one in dashboard["annotations"]["list"])


@pytest.fixture(scope="module")
def series() -> Mapping[str, Metric]:
    """Return the family of every series that there can be, by name."""
    return {
        family.name + suffix: family
        for family in FullPage().collect()
        for suffix in _LATER.get(family.type, ("",))
    }


def check_names(expression: str, series: Mapping[str, Metric]) -> set[str]:
    """See that an expression asks for series, labels and values that there are; returns names."""
    names = set(re.findall(r"\b(?:comms_poller|process)_[a-z_]+\b", expression))
    assert names, expression
    assert names <= series.keys(), expression
    selectors = re.findall(r"\b((?:comms_poller|process)_[a-z_]+)\{([^}]*)\}", expression)
    for name, inside in selectors:
        for label, operator, value in re.findall(r'(\w+)(=~|=)"([^"]*)"', inside):
            if label in {"job", "instance"}:
                continue
            present = {
                sample.labels[label] for sample in series[name].samples if label in sample.labels
            }
            wanted = value.split("|") if operator == "=~" else [value]
            assert present.issuperset(wanted), expression
    return names


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_asks_for_what_there_is(
    rule: dict[str, Any], series: Mapping[str, Metric]
) -> None:
    """Names, labels and values are those of the page."""
    check_names(rule["expr"], series)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """How bad, what, and what now: in sentences, with commands and settings that there are."""
    assert rule["labels"]["severity"] in _SEVERITIES
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    for text in rule["annotations"].values():
        assert text.rstrip().endswith(".")
    runbook = rule["annotations"]["runbook"]
    commands = set(re.findall(r"`poller ([a-z-]+)", runbook))
    assert commands <= COMMANDS.keys()
    known = (ROOT / "config/README.md").read_text() + _source()
    for name in re.findall(r"\b(?:api|polling|store|server|engine)\.[a-z_]+", runbook):
        assert f"`{name}`" in known or f'"{name}"' in known, name


@pytest.mark.parametrize("name", [str(rule["alert"]) for rule in alerts()])
def test_an_alert_is_seen_firing(name: str) -> None:
    """The unit tests of the rules hold for every one of them."""
    assert f'alertname="{name}"' in UNIT_TESTS.read_text()


@needs_promtool
def test_prometheus_understands_the_rules() -> None:
    """The rules are valid, and no alert fires that its trouble does not explain."""
    assert f"{len(alerts())} rules found" in promtool("check", "rules", RULES.name)
    promtool("test", "rules", UNIT_TESTS.name)


@needs_promtool
def test_prometheus_understands_the_dashboard(tmp_path: Path) -> None:
    """Every expression parses once Grafana has filled in its variables."""
    expressions = [
        expression.replace("$__rate_interval", "1m")
        for expression in dashboard_expressions()
        if not expression.startswith("label_values")
    ]
    rules = [
        {"record": f"panel:{number}", "expr": expression}
        for number, expression in enumerate(expressions)
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", path)


def test_the_dashboard_asks_for_what_there_is(series: Mapping[str, Metric]) -> None:
    """Names, labels and values are those of the page; what is not drawn is watched by an alert."""
    shown = set()
    for expression in dashboard_expressions():
        shown |= check_names(expression, series)
    for rule in alerts():
        shown |= check_names(rule["expr"], series)
    ours = {family.name for family in series.values() if family.name.startswith("comms_poller")}
    assert ours <= {series[name].name for name in shown}


def test_the_dashboard_can_be_imported() -> None:
    """What Grafana asks of a dashboard: ids of their own, a place each, one data source."""
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["uid"]
    everything = dashboard["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    sources = {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]}
    assert sources == {"${datasource}"}
    assert all(panel["description"] for panel in panels())
