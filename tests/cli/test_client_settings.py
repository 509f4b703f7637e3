"""Which settings a client of the running daemon reads: where the daemon is, and its token."""

from collections.abc import Iterator, Mapping

import pytest
from typer.testing import CliRunner

from poller.cli.app import app
from poller.server.examples import EXAMPLES
from tests.cli.surroundings import Surroundings
from tests.control.fake_daemon import A, Asked, FakeDaemon, Reply, document

COMMANDS = {
    "add": ["add", A],
    "list": ["list"],
    "show": ["show", A],
    "forget": ["forget", A],
    "sinks": ["sinks"],
    "health": ["health", "--set", "log.level=info"],  # an option, so that settings are read
    "dead-letters": ["dead-letters"],
    "replay": ["replay", "--all"],
}
ELSEWHERE = {
    "a sink's secret alone": {"POLLER_SINKS__APP__SECRET": "whsec_x"},
    "a setting unknown there": {"POLLER_SINKS__APP__RETRIES": "3", "POLLER_POLLING__RETRIES": "3"},
    "a variable that resembles nothing": {"POLLER_RETRIES": "3"},
    "values that cannot be used": {
        "POLLER_POLLING__SETTLE": "soon",
        "POLLER_STORE__URL": "mysql://h/x",
        "TWILIO_AUTH_TOKEN": "two\nlines",
    },
}


@pytest.fixture(scope="module")
def daemon() -> Iterator[FakeDaemon]:
    """Run a daemon that answers whatever is asked."""
    item = {"id": A, "status": 201, "outcome": "created", "operation": document(A)}
    body = {
        "status": "ok",
        "sinks": EXAMPLES["sinks"]["sinks"],
        "deadLetters": [],
        "operations": [],
        "results": [item],
        "replayed": {},
        "next": None,
    }

    def answer(asked: Asked) -> Reply:
        if asked.method == "DELETE":
            return Reply(status=204, body=b"")
        if asked.path.endswith(A):
            story = {"events": [], "earlierEvents": 0, "pruned": False}
            return Reply(body={**document(A), **story})
        return Reply(body=body)

    with FakeDaemon(answer) as running:
        yield running


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("named", [False, True], ids=["configured", "named"])
def test_mistakes_elsewhere_do_not_count(
    here: Surroundings, daemon: FakeDaemon, command: list[str], *, named: bool
) -> None:
    """A client needs no sink, no credentials and no store, wherever the address comes from."""
    listen = f"{daemon.address.host}:{daemon.address.port}"
    for wrong in ELSEWHERE.values():
        with pytest.MonkeyPatch.context() as patched:
            for name, value in wrong.items():
                patched.setenv(name, value)
            here.set({"POLLER_URL": f"http://{listen}"} if named else {})
            here.set(POLLER_SERVER__LISTEN=listen)
            result = CliRunner().invoke(app, command)
        assert (result.exit_code, result.exception) == (0, None), (wrong, result.output)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"POLLER_SERVER__TOKN": "x"}, "POLLER_SERVER__TOKEN"),
        ({"POLLER_SERVER_TOKEN": "x"}, "POLLER_SERVER__TOKEN"),
        ({"POLLER_SERVR__LISTEN": "x"}, "POLLER_SERVER__LISTEN"),
        ({"POLLER_SERVER__PASSWORD": "x"}, "[server] has listen, token"),
        ({"POLLER_LOG__LEVEL": "loud"}, "log.level"),
        ({"POLLER_CONFIG": "absent.toml"}, "absent.toml"),
    ],
)
@pytest.mark.parametrize("url", [False, True])
def test_mistakes_in_what_is_read_count(
    here: Surroundings, daemon: FakeDaemon, wrong: Mapping[str, str], words: str, *, url: bool
) -> None:
    """A misspelt token would otherwise show as a refused one."""
    here.set(wrong)
    before = len(daemon.asked)
    result = CliRunner().invoke(app, ["list", *(["--url", str(daemon.address)] if url else [])])
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(daemon.asked) == before


@pytest.mark.parametrize("override", ["sinks.app.secret=x", "polling.retries=3", "nonsense"])
@pytest.mark.usefixtures("here")
def test_the_command_line_itself_must_be_right(daemon: FakeDaemon, override: str) -> None:
    """What this very command was given is its own mistake, whatever it is about."""
    result = CliRunner().invoke(app, ["list", "--url", str(daemon.address), "--set", override])
    assert result.exit_code == 2


def test_the_store_is_asked_for_only_where_no_daemon_answers(here: Surroundings) -> None:
    """What is wrong with its settings is said then."""
    here.set(POLLER_STORE__URL="mysql://h/x", POLLER_SERVER__LISTEN="")
    result = CliRunner().invoke(app, ["dead-letters"])
    assert (result.exit_code, "store.url" in result.stderr) == (2, True)


def test_messages_need_the_api_and_no_sink(here: Surroundings) -> None:
    """`show --failed` reads the API: it says that credentials are missing, nothing of sinks."""
    here.set(POLLER_SINKS__APP__SECRET="whsec_x", POLLER_SERVER__LISTEN="")
    result = CliRunner().invoke(app, ["show", A, "--failed"])
    assert "no credentials" in result.stderr
    assert "sinks" not in result.stderr
    watched = CliRunner().invoke(app, ["watch", A])
    assert "no credentials" in watched.stderr
    assert "sinks" not in watched.stderr
