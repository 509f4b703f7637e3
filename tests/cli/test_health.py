"""`poller health`: yes or no, quickly."""

from pathlib import Path

import pytest

from poller.cli.health import check_health, quick_health
from poller.control.errors import BadAddress
from tests.cli.surroundings import Surroundings, surrounded
from tests.control.fake_daemon import FakeDaemon, Reply

OK = {"status": "ok", "version": "1", "loops": [{"name": "poll", "turning": True}]}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Surroundings:
    """Work in an empty directory with an environment of our own."""
    found = surrounded(monkeypatch, tmp_path)
    found.set(POLLER_SECRETS_DIR=str(tmp_path))
    return found


@pytest.mark.parametrize(
    ("status", "document", "code", "out", "err"),
    [
        (200, OK, 0, "ok\n", ""),
        (
            503,
            {"status": "hanging", "loops": [{"name": "poll", "turning": False}]},
            1,
            "",
            "hanging: these loops do not run: poll\n",
        ),
        (503, {"status": "unready", "reason": "full disk"}, 1, "", "unready: full disk\n"),
        (
            200,
            {"status": "degraded", "degraded": [{"what": "sink app", "since": "T", "hint": "h"}]},
            0,
            "degraded\ndegraded: sink app since T; h\n",
            "",
        ),
    ],
)
@pytest.mark.usefixtures("here")
def test_answers(
    capsys: pytest.CaptureFixture[str],
    *,
    status: int,
    document: dict[str, object],
    code: int,
    out: str,
    err: str,
) -> None:
    """External trouble is printed, and the answer is still yes."""
    with FakeDaemon(lambda _: Reply(status=status, body=document)) as daemon:
        url = str(daemon.address)
        assert check_health(ready=True, json_output=False, url=url) == code
        assert capsys.readouterr() == (out, err)
        assert check_health(ready=False, json_output=True, url=url) == code
    assert daemon.paths()[:2] == ["/readyz", "/healthz"]


@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.usefixtures("here")
def test_a_daemon_that_lives_says_what_is_degraded(
    capsys: pytest.CaptureFixture[str], *, status: int
) -> None:
    """A line each, and why it is not ready; it lives all the same."""
    degraded = [{"what": "sink app", "since": "T", "hint": "h"}]
    reason = None if status == 200 else "full disk"
    readiness = Reply(status=status, body={"reason": reason, "degraded": degraded})
    replies = {"/healthz": Reply(body=OK), "/readyz": readiness}
    with FakeDaemon(lambda asked: replies[asked.path]) as daemon:
        assert check_health(ready=False, json_output=False, url=str(daemon.address)) == 0
    lines = capsys.readouterr().out.splitlines()
    not_ready = [] if reason is None else ["not ready: full disk"]
    assert lines == ["ok", *not_ready, "degraded: sink app since T; h"]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(status=404, body={"error": "no such page"}), "is not a poller: it answered 404"),
        (Reply(status=200, body={"status": "UP"}), "is not a poller: it answered 200"),
        (
            Reply(status=403, body={"status": 403, "title": "T", "detail": "no", "hint": "do"}),
            "poller: no; do\n",
        ),
        (
            Reply(status=503, body={"status": 503, "title": "Too many", "detail": "all busy"}),
            "poller: Too many: all busy\n",
        ),
    ],
)
@pytest.mark.usefixtures("here")
def test_an_answer_without_a_state_is_explained(
    capsys: pytest.CaptureFixture[str], reply: Reply, message: str
) -> None:
    """Another program is not healthy whatever it answers; a problem is shown with its hint."""
    with FakeDaemon(lambda _: reply) as daemon:
        assert quick_health(["--url", str(daemon.address)]) == 1
        assert quick_health(["--url", str(daemon.address), "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 2
    assert message in err


def test_where_it_asks(here: Surroundings) -> None:
    """`server.listen`, else `server.observe`, unless `--url` says it."""
    with FakeDaemon(lambda _: Reply(body=OK)) as daemon:
        listen = f"{daemon.address.host}:{daemon.address.port}"
        here.set(POLLER_SERVER__LISTEN=listen)
        assert check_health(ready=False, json_output=False) == 0
        here.set(POLLER_SERVER__LISTEN="", POLLER_SERVER__OBSERVE=listen)
        assert check_health(ready=True, json_output=True) == 0
        here.set(POLLER_SERVER__OBSERVE="")
        with pytest.raises(BadAddress):
            check_health(ready=False, json_output=False)
        assert quick_health(["--url", f"http://{listen}"]) == 0
        here.set(POLLER_URL=f"http://{listen}")
        assert quick_health(["--ready", "--json"]) == 0
    assert daemon.paths() == ["/healthz", *["/readyz"] * 2, "/healthz", *["/readyz"] * 2]


@pytest.mark.usefixtures("here")
def test_what_needs_the_whole_command_line() -> None:
    """Other options, and settings: they say where the daemon listens unless something else does."""
    assert quick_health(["--help"]) is None
    assert quick_health(["--config", "x"]) is None
    assert quick_health(["--url"]) is None
    assert quick_health([]) is None


@pytest.mark.usefixtures("here")
def test_faults_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody there is 1, a bad address 2."""
    assert quick_health(["--url=unix:/nowhere/s"]) == 1
    assert "no daemon answers at unix:/nowhere/s" in capsys.readouterr().err
    assert quick_health(["--url=nowhere"]) == 2
    assert capsys.readouterr().err.startswith("poller: --url: ")
