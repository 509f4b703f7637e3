"""`poller check`: every part looked at, every problem on one line, and nothing touched."""

import base64
import contextlib
import fcntl
import json
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio import run

from poller.cli.commands.check import check_everything
from poller.settings import SettingsError, SettingsLoader
from poller.store.store import Store
from poller.tracking.delivery import AttemptResult
from poller.tracking.watch import AccountScope
from tests.cli.surroundings import Surroundings
from tests.control.fake_daemon import FakeDaemon
from tests.control.fake_daemon import Reply as DaemonReply
from tests.fakes.api import ACCOUNT, TOKEN, FakeApi, Reply, envelope
from tests.fakes.receiver import Answer, Receiver
from tests.fakes.simulated import Simulated
from tests.store.scenes import Clock, Daemon, declare, op

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
Report = dict[str, Any]


@pytest.fixture
def api(here: Surroundings) -> Iterator[FakeApi]:
    """Point the environment at an API that has no operations yet."""
    with FakeApi() as server:
        server.script("Operations", [{"operations": [], "meta": {}}])
        here.set(server.environment, POLLER_SERVER__LISTEN="")
        yield server


Check = Callable[..., tuple[int, Report]]


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Check:
    """Return `check(…)`: the exit code and the JSON report."""

    def run_check(*overrides: str, send: bool = False) -> tuple[int, Report]:
        code = check_everything(SettingsLoader(None, overrides), send=send, json_output=True)
        return code, json.loads(capsys.readouterr().out)

    return run_check


def of(report: Report, subject: str) -> Report:
    """Return the first finding about a subject."""
    return next(found for found in report["checks"] if found["subject"] == subject)


def refusing_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_everything_in_order(api: FakeApi, here: Surroundings, check: Check) -> None:
    """A good setup is 0, costs one request for one operation, and leaves no file behind."""
    code, report = check("sinks.out.type=file", "sinks.out.path=events.ndjson")
    assert code == 0
    assert report["ok"] is True
    assert {found["state"] for found in report["checks"]} == {"ok"}
    assert [found["subject"] for found in report["checks"]] == ["api", "store", "sinks.out"]
    assert api.requests == ["/v1/Messages/Operations?pageSize=1"]
    assert here.files() == []


def test_settings_say_where_they_came_from(api: FakeApi, here: Surroundings, check: Check) -> None:
    """The report holds every setting in force with its origin; secrets are masked."""
    del api
    here.directory.joinpath("poller.toml").write_text("[polling]\nsettle = '1m'\n")
    here.set(POLLER_CONFIG="poller.toml", POLLER_SERVER__TOKEN="t" * 40)
    _, report = check("log.level=debug")
    rows = {row["field"]: (row["value"], row["origin"]) for row in report["settings"]}
    assert rows["polling.settle"] == ('"60s"', "file poller.toml")
    assert rows["log.level"] == ('"debug"', "--set")
    assert rows["api.auth_token"] == ("**********", "environment variable TWILIO_AUTH_TOKEN")
    assert rows["polling.sweep"] == ('"auto"', "default")
    assert "t" * 40 not in json.dumps(report)


def test_bad_settings_are_not_looked_at_further(api: FakeApi, check: Check) -> None:
    """What the settings say must be right before anything is asked."""
    with pytest.raises(SettingsError, match=r"log\.level"):
        check("log.level=loud")
    assert api.requests == []


def test_missing_credentials_are_usage_and_the_rest_is_still_reported(
    here: Surroundings, check: Check
) -> None:
    """Without credentials it is 2, and store and sinks are looked at all the same."""
    del here
    code, report = check()
    assert code == 2
    assert of(report, "api")["state"] == "problem"
    assert "TWILIO_ACCOUNT_SID" in of(report, "api")["fix"]
    assert of(report, "store")["state"] == of(report, "sinks.stdout")["state"] == "ok"


@pytest.mark.parametrize(
    ("reply", "message", "fix"),
    [
        pytest.param(
            Reply(status=401, body=envelope(20003, "Authenticate")),
            "refuses the credentials",
            "environment variable TWILIO_AUTH_TOKEN",
            id="401",
        ),
        pytest.param(
            Reply(status=403, body=envelope(20003, "Forbidden")),
            "not for operations of kind messages",
            "access",
            id="403",
        ),
        pytest.param(
            Reply(status=429, headers={"retry-after": "7"}), "is throttling", "in 7 s", id="429"
        ),
        pytest.param(Reply(status=503), "is throttling", "in a minute", id="503"),
        pytest.param(Reply(status=500), "answers with an error", "later", id="500"),
        pytest.param(
            Reply(status=404, body=envelope(20404, "not found")),
            "has no operations",
            "api.base_url",
            id="404",
        ),
        pytest.param(
            Reply(body=b"<html>"),
            "gives an answer that is not the API's",
            "api.base_url",
            id="html",
        ),
        pytest.param(
            Reply(status=302, headers={"location": "http://x.test/"}),
            "gives an answer that is not the API's",
            "set api.base_url to where the API is",
            id="302",
        ),
        pytest.param(Reply(delay=0.5), "does not answer in time", "api.timeout", id="slow"),
        pytest.param(
            Reply(body={"a": "b" * 99}, cut=True), "cannot be reached", "the network path", id="cut"
        ),
    ],
)
def test_troubles_of_the_api_are_distinguished(
    api: FakeApi, check: Check, reply: Reply, message: str, fix: str
) -> None:
    """Each way in which the API can fail has its own words and its own fix; all are 1."""
    api.override = reply
    code, report = check("api.timeout=200ms")
    found = of(report, "api")
    assert code == 1
    assert report["ok"] is False
    assert message in found["message"]
    assert found["message"].startswith(api.base_url)
    assert fix in found["fix"]
    assert TOKEN not in json.dumps(report)


def test_an_api_that_nobody_answers_for(api: FakeApi, check: Check) -> None:
    """A closed port is unreachable."""
    del api
    code, report = check(f"api.base_url=http://127.0.0.1:{refusing_port()}/v1")
    assert code == 1
    assert "cannot be reached: connection refused by 127" in of(report, "api")["message"]


def test_an_api_that_speaks_no_tls(api: FakeApi, check: Check) -> None:
    """TLS that fails is reported as such."""
    code, report = check(f"api.base_url={api.base_url.replace('http:', 'https:')}")
    assert code == 1
    assert "does not speak TLS" in of(report, "api")["message"]
    assert "must begin with http://" in of(report, "api")["fix"]


def test_certificates_that_cannot_be_read_are_usage(
    api: FakeApi, here: Surroundings, check: Check
) -> None:
    """A variable that names no certificates is a mistake in how the poller was called."""
    here.set(SSL_CERT_FILE="/nonexistent.pem")
    code, report = check(f"api.base_url={api.base_url.replace('http:', 'https:')}")
    assert code == 2
    assert "SSL_CERT_FILE" in of(report, "api")["message"]
    assert "PEM" in of(report, "api")["fix"]


async def _make_store(path: Path) -> None:
    home = AccountScope(account="a", base_url="https://x.test")
    store = await Store.open(f"sqlite:///{path}", home, now=Clock())
    await store.aclose()


def test_hints_need_a_way_to_refuse_forged_ones(
    api: FakeApi, here: Surroundings, check: Check
) -> None:
    """As `run` asks, which ends without; with either way it says which one."""
    here.set(POLLER_API__BASE_URL=api.base_url)
    code, report = check("server.hints=127.0.0.1:0")
    assert (code, of(report, "server.hints")["state"]) == (2, "problem")
    code, report = check("server.hints=127.0.0.1:0", "server.hints_url=https://h/v1/hints")
    assert code == 0
    assert "signature" in of(report, "server.hints")["message"]
    here.set(POLLER_SERVER__HINTS_USER="vendor", POLLER_SERVER__HINTS_PASSWORD="hush")
    code, report = check("server.hints=127.0.0.1:0")
    assert code == 0
    assert "Basic" in of(report, "server.hints")["message"]
    assert "hush" not in json.dumps(report)


def test_an_oauth_client_is_checked(here: Surroundings, check: Check) -> None:
    """Its token is requested and used; one that is refused is named with its settings."""
    with Simulated() as simulator:
        config = simulator.config
        here.set(
            POLLER_SERVER__LISTEN="",
            POLLER_API__BASE_URL=simulator.base_url,
            POLLER_API__OAUTH_CLIENT_ID=config.oauth_client_id,
            POLLER_API__OAUTH_CLIENT_SECRET=config.oauth_client_secret,
            POLLER_API__OAUTH_TOKEN_URL=simulator.base_url.removesuffix("/v1") + "/v2/token",
        )
        assert check()[0] == 0
        here.set(POLLER_API__OAUTH_CLIENT_SECRET="other")
        code, report = check()
    assert code == 1
    assert "api.oauth_client_secret" in of(report, "api")["fix"]


def test_a_current_store_is_read_and_not_touched(
    api: FakeApi, here: Surroundings, check: Check
) -> None:
    """A store at rest keeps its bytes, and no file appears beside it."""
    del api
    path = here.directory / "poller.db"
    run(_make_store, path)
    files, content = here.files(), path.read_bytes()
    code, report = check()
    assert code == 0
    assert "current" in of(report, "store")["message"]
    assert here.files() == files
    assert path.read_bytes() == content


def test_a_store_in_use_is_in_order(api: FakeApi, here: Surroundings, check: Check) -> None:
    """Beside a running daemon all is well, and its pid is shown."""
    del api
    path = here.directory / "poller.db"
    run(_make_store, path)
    with path.with_name("poller.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711\n")
        lock.flush()
        code, report = check()
    assert code == 0
    assert "in use by the running daemon (pid 4711)" in of(report, "store")["message"]


def test_the_write_ahead_log_is_read_too(api: FakeApi, here: Surroundings, check: Check) -> None:
    """What a running daemon has committed counts, wherever SQLite keeps it."""
    del api
    path = here.directory / "poller.db"
    run(_make_store, path)
    with contextlib.closing(sqlite3.connect(path)) as daemon:
        daemon.execute("UPDATE alembic_version SET version_num = '0000'")
        daemon.commit()
        code, report = check()
    assert code == 2
    assert "the store has schema 0000" in of(report, "store")["message"]


def test_a_store_of_a_newer_program(api: FakeApi, here: Surroundings, check: Check) -> None:
    """A schema that this program does not know is a problem that names both."""
    del api
    path = here.directory / "poller.db"
    run(_make_store, path)
    with contextlib.closing(sqlite3.connect(path)) as newer:
        newer.execute("UPDATE alembic_version SET version_num = '9999'")
        newer.commit()
    code, report = check()
    assert code == 2
    assert "9999" in of(report, "store")["message"]
    assert "run the newer program" in of(report, "store")["fix"]


def test_an_empty_database_gets_its_tables_later(
    api: FakeApi, here: Surroundings, check: Check
) -> None:
    """A file that somebody made beforehand stays empty."""
    del api
    path = here.directory / "poller.db"
    path.touch()
    code, report = check()
    assert code == 0
    assert "empty" in of(report, "store")["message"]
    assert path.stat().st_size == 0
    assert here.files() == ["poller.db"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        pytest.param("plain/x.db", "Not a directory", id="below-a-file"),
        pytest.param("absent/x.db", "No such file or directory", id="no-directory"),
        pytest.param("directory", "Is a directory", id="directory"),
        pytest.param("plain", "file is not a database", id="no-database"),
        pytest.param("/dev/full", "is not a regular file", id="device"),
        pytest.param("/proc/x.db", "No such file or directory", id="proc"),
        pytest.param("locked.db", "cannot open", id="lock-not-to-be-opened"),
    ],
)
def test_a_store_that_no_daemon_could_use(
    api: FakeApi, here: Surroundings, check: Check, place: str, message: str
) -> None:
    """What a daemon would fail on is found beforehand, with the fix, and nothing is made."""
    del api
    here.directory.joinpath("plain").write_text("this is no database, " * 99)
    here.directory.joinpath("directory").mkdir()
    here.directory.joinpath("locked.db.lock").mkdir()
    before = here.files()
    code, report = check(f"store.url=sqlite:///{here.directory / place}")
    found = of(report, "store")
    assert code == 2
    assert found["state"] == "problem"
    assert message in found["message"]
    assert found["fix"]
    assert here.files() == before


@pytest.mark.parametrize(
    ("place", "words"),
    [
        pytest.param("absent/e.ndjson", ("No such file", "create the directory"), id="absent"),
        pytest.param("plain/e.ndjson", ("Not a directory", "set path to a file"), id="below-file"),
        pytest.param("directory", ("Is a directory", "set path to a file"), id="directory"),
        pytest.param("/dev/full", ("is not a regular file", "stdout"), id="device"),
        pytest.param("/proc/e.ndjson", ("cannot be created", "let the user"), id="proc"),
        pytest.param("plain", ("does not end like a file of events", "new file"), id="foreign"),
    ],
)
def test_a_file_that_no_sink_could_write(
    api: FakeApi, here: Surroundings, check: Check, place: str, words: tuple[str, str]
) -> None:
    """What the file sink would fail on is found beforehand, with the fix, and nothing is made."""
    del api
    here.directory.joinpath("plain").write_text("somebody's notes")
    here.directory.joinpath("directory").mkdir()
    before = here.files()
    code, report = check("sinks.out.type=file", f"sinks.out.path={place}")
    found = of(report, "sinks.out")
    message, fix = words
    assert code == 2
    assert message in found["message"]
    assert fix in found["fix"]
    assert here.files() == before


def test_a_torn_file_is_not_mended(
    api: FakeApi, here: Surroundings, check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    """A torn last line is the sink's to cut, at its start; looking changes nothing."""
    del api
    path = here.directory / "e.ndjson"
    path.write_text('{"id": "1"}\n{"id": ')
    code, report = check("sinks.out.type=file", f"sinks.out.path={path}")
    assert code == 0
    assert "writable" in of(report, "sinks.out")["message"]
    assert path.read_text() == '{"id": "1"}\n{"id": '
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("held", "state"),
    [
        pytest.param(["e.ndjson", "poller.db.lock"], "ok", id="daemon"),
        pytest.param(["e.ndjson"], "warning", id="stranger"),
    ],
)
def test_a_file_that_somebody_holds(
    api: FakeApi, here: Surroundings, check: Check, held: list[str], state: str
) -> None:
    """A held file is in order beside a running daemon, and a warning without one."""
    del api
    run(_make_store, here.directory / "poller.db")
    with contextlib.ExitStack() as stack:
        for name in held:
            path = here.directory / name
            fcntl.flock(stack.enter_context(path.open("a")), fcntl.LOCK_EX)
        code, report = check("sinks.out.type=file", "sinks.out.path=e.ndjson")
    assert code == 0
    assert of(report, "sinks.out")["state"] == state


@pytest.fixture
def receiver(here: Surroundings) -> Iterator[Receiver]:
    """Configure a signed webhook."""
    with Receiver(secret=SECRET) as server:
        here.set(
            POLLER_SINKS__APP__TYPE="webhook",
            POLLER_SINKS__APP__URL=server.url,
            POLLER_SINKS__APP__SECRET=SECRET,
        )
        yield server


def test_nothing_is_posted_unasked(api: FakeApi, receiver: Receiver, check: Check) -> None:
    """Without `--send` a webhook hears nothing."""
    del api
    code, report = check()
    assert code == 0
    assert "--send" in of(report, "sinks.app")["message"]
    assert receiver.received == []


def test_one_signed_test_event_is_posted(api: FakeApi, receiver: Receiver, check: Check) -> None:
    """With `--send` each webhook gets one CloudEvent of type `poller.test`, signed."""
    del api
    code, report = check(send=True)
    assert code == 0
    assert "answered 204" in of(report, "sinks.app")["message"]
    (request,) = receiver.received
    assert request.signature == "good"
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert request.headers["webhook-id"] == request.event["id"]
    assert request.event["specversion"] == "1.0"
    assert request.event["type"] == "poller.test"
    assert SECRET not in json.dumps(report)


def test_a_channel_gets_a_message_that_says_it_is_a_test(
    api: FakeApi, receiver: Receiver, here: Surroundings, check: Check
) -> None:
    """With `--send` a chat service gets a message, and nobody asks for a secret."""
    del api
    here.set(
        POLLER_SINKS__TEAM__TYPE="webhook",
        POLLER_SINKS__TEAM__URL=receiver.url,
        POLLER_SINKS__TEAM__FORMAT="slack",
    )
    code, report = check(send=True)
    assert code == 0
    assert "answered 204 to a test message" in of(report, "sinks.team")["message"]
    (request,) = [one for one in receiver.received if one.signature == "missing"]
    assert "Test message from comms-poller" in json.loads(request.body)["text"]
    assert [found for found in report["checks"] if found["state"] == "warning"] == []


def test_a_refused_test_event_is_a_problem(api: FakeApi, receiver: Receiver, check: Check) -> None:
    """A status other than 2xx is reported, without any echo of the secret."""
    del api
    receiver.answer_next(Answer(status=401, body=f"bad key {SECRET}".encode()))
    code, report = check(send=True)
    assert code == 1
    assert "answered 401" in of(report, "sinks.app")["message"]
    assert of(report, "sinks.app")["fix"]
    assert SECRET.removeprefix("whsec_") not in json.dumps(report)
    assert len(receiver.received) == 1


def test_a_receiver_that_is_not_there(api: FakeApi, receiver: Receiver, check: Check) -> None:
    """A receiver that cannot be reached is a problem of its url."""
    del api
    receiver.stop()
    code, report = check(send=True)
    assert code == 1
    found = of(report, "sinks.app")
    assert found["fix"] == "check that the receiver runs, and sinks.app.url"
    assert found["message"].rpartition(": ")[2].startswith("connection refused by 127.0.0.1:")
    assert ";" not in found["message"]


def test_a_dead_proxy_is_not_a_problem_of_the_url(
    api: FakeApi, receiver: Receiver, here: Surroundings, check: Check
) -> None:
    """The variable that names the proxy is what to look at."""
    del api, receiver
    here.set(
        POLLER_SINKS__APP__URL="http://app.invalid/x",
        HTTP_PROXY=f"http://127.0.0.1:{refusing_port()}",
        NO_PROXY="127.0.0.0/8",
    )
    code, report = check(send=True)
    assert code == 1
    found = of(report, "sinks.app")
    assert "refused by the proxy 127.0.0.1" in found["message"]
    assert "HTTP_PROXY" in found["fix"]
    assert "url" not in found["fix"]


def test_an_unsigned_webhook_is_warned_of(
    api: FakeApi, receiver: Receiver, here: Surroundings, check: Check
) -> None:
    """Without a secret it still is 0, with a warning that names the variable to set."""
    del api
    here.set(POLLER_SINKS__OTHER__TYPE="webhook", POLLER_SINKS__OTHER__URL=receiver.url)
    code, report = check()
    (warning,) = [found for found in report["checks"] if found["state"] == "warning"]
    assert code == 0
    assert warning["subject"] == "sinks.other"
    assert "POLLER_SINKS__OTHER__SECRET" in warning["fix"]


def test_a_host_that_is_not_known(
    api: FakeApi, receiver: Receiver, here: Surroundings, check: Check
) -> None:
    """A webhook's host must have an address, unless a proxy will look it up."""
    del api, receiver
    here.set(POLLER_SINKS__APP__URL="http://no.such.host.invalid/secret-path")
    code, report = check()
    assert code == 1
    assert "the name no.such.host.invalid " in of(report, "sinks.app")["message"]
    here.set(HTTP_PROXY="http://127.0.0.1:9", NO_PROXY="127.0.0.1")
    code, report = check()
    assert code == 0
    assert "through the proxy 127.0.0.1:9 (HTTP_PROXY)" in of(report, "sinks.app")["message"]


def test_lines_for_a_pipe(
    api: FakeApi, here: Surroundings, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a pipe a finding is a line, and each problem is a line on standard error as well."""
    del api, here
    overrides = ["sinks.out.type=file", "sinks.out.path=/dev/full"]
    code = check_everything(SettingsLoader(None, overrides), send=False, json_output=False)
    out, err = capsys.readouterr()
    assert code == 2
    assert 'polling.sweep\t"auto"\tdefault' in out.splitlines()
    assert out.splitlines()[-1] == "1 problem"
    (line,) = err.splitlines()
    assert line.startswith("poller: sinks.out: /dev/full is not a regular file. Fix: ")
    assert TOKEN not in out


def test_what_the_running_daemon_says_counts(
    api: FakeApi, here: Surroundings, check: Check
) -> None:
    """What is degraded is a problem each, dead letters are a warning."""
    del api
    degraded = [
        {"what": "sink app", "since": "T", "hint": "no answer; one probe stands for all"},
        {"what": "sink old", "since": "T", "hint": "no settings name it; 50 events wait for it"},
        {"what": "credentials", "since": "T", "hint": "the API refuses them; correct them"},
    ]
    replies = {
        "/readyz": DaemonReply(body={"status": "degraded", "reason": None, "degraded": degraded}),
        "/v1/sinks": DaemonReply(
            body={"sinks": [{"name": "app", "dead": 2}, {"name": "x", "dead": 0}]}
        ),
    }
    with FakeDaemon(lambda asked: replies[asked.path]) as daemon:
        here.set(POLLER_SERVER__LISTEN=f"127.0.0.1:{daemon.address.port}")
        code, report = check()
    assert code == 1
    assert report["ok"] is False
    found = [(one["subject"], one["state"]) for one in report["checks"][3:]]
    assert found == [
        ("sinks.app", "problem"),
        ("sinks.old", "problem"),
        ("daemon", "problem"),
        ("sinks.app", "warning"),
    ]
    assert "50 events" in report["checks"][4]["fix"]


def test_without_a_daemon_the_store_is_read(api: FakeApi, here: Surroundings, check: Check) -> None:
    """Events that wait for a sink no longer configured, and dead letters, are found there."""
    run(_leave_events, here.directory, api.environment["POLLER_API__BASE_URL"])
    code, report = check("sinks.out.type=stdout")
    assert code == 1
    problem, warning = report["checks"][3:]
    assert (problem["subject"], problem["state"]) == ("sinks.app", "problem")
    assert "(1 event)" in f"{problem['message']} {problem['fix']}"
    assert (warning["subject"], warning["state"]) == ("sinks.app", "warning")
    assert "1 event given up" in warning["message"]


async def _leave_events(directory: Path, base_url: str) -> None:
    clock = Clock()
    scope = AccountScope(account=ACCOUNT, base_url=base_url)
    store = await Store.open(f"sqlite:///{directory / 'poller.db'}", scope, now=clock)
    try:
        await store.configure_sinks(declare("app"))
        scene = Daemon(store, clock, "first")
        await scene.register(op(1), op(2))
        await scene.observe(op(1), "PROCESSING")
        clock.advance(days=4)
        [claim] = await scene.deliveries("app")
        await scene.settle([claim], AttemptResult.FAILED, error="no route")
        await scene.observe(op(2), "PROCESSING")
    finally:
        await store.aclose()
