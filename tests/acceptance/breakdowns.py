"""Breakdowns held against what the simulator knows, judged without any code of the poller."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from poller.comms.kinds import KindSpec
from tests.fakes.process import poller

__all__ = ["breakdown_of", "check_breakdown", "verify"]

Event = dict[str, Any]
Truth = Mapping[str, Any]

_FAILED = ("FAILED", "UNDELIVERED")


def breakdown_of(events: Sequence[Event], name: str) -> Event:
    """Return the one breakdown of an operation, the last event about it."""
    own = [event for event in events if event["subject"] == name]
    assert [event["type"] for event in own].count("operation.breakdown") == 1
    assert own[-1]["type"] == "operation.breakdown"
    found: Event = own[-1]["data"]["breakdown"]
    return found


def check_breakdown(events: Sequence[Event], truth: Truth, kind: KindSpec) -> None:
    """Look that it is complete and exact: codes, statuses and channels, and whose samples."""
    found = breakdown_of(events, truth["operationId"])
    assert (found["complete"], found["missing"]) == (True, [])
    assert {str(cause["code"]): cause["count"] for cause in found["errors"]} == truth["codes"]
    counts = [cause["count"] for cause in found["errors"]]
    assert counts == sorted(counts, reverse=True)
    listed = {(one["status"], one["channel"]): one["count"] for one in found["messages"]}
    failed = {
        (status, channel): count
        for channel, statuses in truth["channels"].items()
        for status, count in statuses.items()
        if status in _FAILED and count and kind.items
    }
    assert listed == failed
    for cause in found["errors"]:
        messages = {name for name in truth["contexts"][str(cause["code"])] if "[" not in name}
        samples = [sample["id"] for sample in cause["samples"]]
        assert messages.issuperset(samples)
        assert len(samples) == len(set(samples)) == min(5, len(messages))
        assert cause["message"]
        assert cause["infoUrl"].endswith(str(cause["code"]))


def verify(events: str, *, cwd: Path) -> None:
    """Let our own auditor read these lines: everything has ended, and nothing is wrong."""
    path = cwd / "audited.ndjson"
    path.write_text(events)
    done = poller("verify", "--ended", str(path), cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
