"""A program that is killed while it waits, and started again with the same store."""

import json
import os
from pathlib import Path

import anyio
import pytest

import poller
from tests.fakes.forked import Forked
from tests.fakes.simulated import Simulated
from tests.library import waiting_program


def environment(simulated: Simulated) -> dict[str, str]:
    """Return the variables that the program reads."""
    return {
        "SID": simulated.config.account_sid,
        "TOKEN": simulated.config.auth_token,
        "BASE_URL": simulated.base_url,
    }


def test_a_program_killed_while_it_waits_misses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The operation ends while no program runs; the next one gets its final event, and a third."""
    with Simulated() as simulated:
        sent = simulated.world.send(recipients=3, fate="smooth")
        program = "tests.library.waiting_program"
        variables = {"PATH": os.environ["PATH"], **environment(simulated)}
        with Forked(sent.id, module=program, cwd=tmp_path, env=variables) as first:
            assert first.stdout is not None
            assert first.stdout.readline() == "waiting\n"
            first.kill()
        simulated.advance(600)
        monkeypatch.chdir(tmp_path)
        for name, value in environment(simulated).items():
            monkeypatch.setenv(name, value)
        bodies = []
        for _ in range(2):
            anyio.run(waiting_program.main, sent.id)
            said, body = capsys.readouterr().out.splitlines()
            assert said == "waiting"
            bodies.append(body)
    assert bodies[0] == bodies[1]
    event = json.loads(bodies[0])
    assert event["type"] == poller.EventType.OPERATION_COMPLETED
    assert event["data"]["final"]
    assert event["data"]["operation"]["stats"]["delivered"] == 3
