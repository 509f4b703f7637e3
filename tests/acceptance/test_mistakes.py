"""Mistakes through the real command line: one readable message on stderr, and the right exit code.

2 is for what the caller must change in the call or the settings, 1 for what is wrong in the world.
"""

import base64
import fcntl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fakes.api import ACCOUNT, TOKEN, FakeApi, operation, operation_id
from tests.fakes.process import Poller, eventually, poller

pytestmark = pytest.mark.acceptance

CREDENTIALS = {
    # nothing listens there: whatever asks before it has looked at its input would say so
    "POLLER_API__BASE_URL": "http://127.0.0.1:9/v1",
    "TWILIO_ACCOUNT_SID": ACCOUNT,
    "TWILIO_AUTH_TOKEN": TOKEN,
}
SHORT_KEY = base64.b64encode(b"no-one-may-see").decode()
SECRETS = (TOKEN, SHORT_KEY, "hunter2")
GOOD = operation_id(1)
SESSION = GOOD.replace("operation", "session")
FILE_SINK = ("--set", "sinks.out.type=file", "--set")


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """What is called, and the exit code and the words that must come of it.

    `files` are made in the working directory beforehand.
    """

    call: Sequence[str]
    code: int
    words: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def setting(key: str, value: str, *words: str, code: int = 2) -> Mistake:
    """Make a mistake in one setting on the command line."""
    return Mistake(call=("run", "--set", f"{key}={value}"), code=code, words=(key, *words))


def usage(*call: str, words: Sequence[str]) -> Mistake:
    """Make a mistake in what is called."""
    return Mistake(call=call, code=2, words=words)


MISTAKES = {
    "unknown setting in a file": Mistake(
        call=("run", "--config", "p.toml"),
        files={"p.toml": "[polling]\nmax_intervall = '30s'\n"},
        code=2,
        words=("polling.max_intervall", "file p.toml", "nearest", "polling.max_interval"),
    ),
    "unknown variable": Mistake(
        call=("run",),
        environment={"POLLER_POLLING__MAX_INTERVALL": "30s"},
        code=2,
        words=("POLLER_POLLING__MAX_INTERVALL", "nearest", "POLLER_POLLING__MAX_INTERVAL\n"),
    ),
    "bad duration": setting("polling.settle", "soon", '"soon"', "not a duration", '"500ms"'),
    "bad port": setting("server.listen", "127.0.0.1:99999", "not an address", "127.0.0.1:8470"),
    "base url with a password": setting(
        "api.base_url", "https://me:hunter2@comms.example.com/v1", "user info", "https://comms"
    ),
    "secret on the command line": setting(
        "api.auth_token", "hunter2", "every user", "POLLER_API__AUTH_TOKEN"
    ),
    "set without a value": usage(
        "run", "--set", "polling.settle", words=("--set", "has no =", "KEY=VALUE")
    ),
    "bad webhook secret": Mistake(
        call=("run",),
        environment={
            "POLLER_SINKS__APP__TYPE": "webhook",
            "POLLER_SINKS__APP__URL": "http://127.0.0.1:9/",
            "POLLER_SINKS__APP__SECRET": f"whsec_{SHORT_KEY}",
        },
        code=2,
        words=("sinks.app.secret", "POLLER_SINKS__APP__SECRET", "24 to 64", "make one with"),
    ),
    "webhook without a url": Mistake(
        call=("run", "--set", "sinks.app.type=webhook"),
        code=2,
        words=("sinks.app.url", "missing", "https://"),
    ),
    "missing credentials": Mistake(
        call=("run",),
        environment={"TWILIO_AUTH_TOKEN": ""},
        code=2,
        words=("api", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"),
    ),
    "missing file of settings": usage(
        "run", "--config", "absent.toml", words=("absent.toml", "No such file", "check the path")
    ),
    "not TOML": Mistake(
        call=("run", "--config", "p.toml"),
        files={"p.toml": "[polling\nsettle = 1s\n"},
        code=2,
        words=("p.toml", "not TOML", "line 1", "correct that line"),
    ),
    "certificates that are not there": Mistake(
        call=("run",),
        environment={"POLLER_API__BASE_URL": "https://127.0.0.1:9/v1", "SSL_CERT_FILE": "/no.pem"},
        code=2,
        words=("SSL_CERT_FILE", "/no.pem", "PEM"),
    ),
    "bad proxy": Mistake(
        call=("run",),
        environment={"POLLER_API__BASE_URL": "https://127.0.0.1:9/v1", "HTTPS_PROXY": "::hunter2"},
        code=2,
        words=("HTTPS_PROXY", "http://host:port"),
    ),
    "bad id": usage("run", "nonsense", words=("ID", "'nonsense'", "they look like")),
    "id of a session": usage(
        "run", SESSION, words=("ID", SESSION, "no operation and of no message")
    ),
    "unknown kind": usage(
        "run", "--kind", "mail", GOOD, words=("--kind", "'mail'", "messages, emails")
    ),
    "bad label": usage(
        "run", "--label", "autumn", words=("--label", "has no =", "campaign=autumn")
    ),
    "bad timeout": usage(
        "run", "--timeout", "soon", words=("--timeout", "'soon'", "90s, 5m or 2h")
    ),
    "unknown option": usage("run", "--untill-idle", words=("--untill-idle", "--until-idle")),
    "unknown command": usage("chekc", words=("'chekc'", "check")),
    "nothing to replay": usage("replay", words=("nothing is selected", "--all", "--sink")),
    "no point in time": usage(
        "dead-letters", "--since", "yesterday", words=("--since", "'yesterday'", "2h")
    ),
    "store below a file": setting(
        "store.url", "sqlite:///plain/x.db", "plain/x.db", "Not a directory", "choose"
    ),
    "store in a missing directory": setting(
        "store.url", "sqlite:///absent/x.db", "No such file or directory", "exists"
    ),
    "store where nobody can write": setting(
        "store.url", "sqlite:////proc/x.db", "/proc/x.db", "can write to"
    ),
    "store that is no database": setting(
        "store.url", "sqlite:///plain", "plain", "not a database", "name another"
    ),
    "store that does not answer": setting(
        "store.url", "postgresql://127.0.0.1:9/x", "refused", "the server runs", code=1
    ),
    "no store to list": Mistake(
        call=("dead-letters",), code=1, words=("store.url", "poller.db", "`poller run`")
    ),
    "file sink below a file": Mistake(
        call=("run", *FILE_SINK, "sinks.out.path=plain/e.ndjson"),
        code=2,
        words=("sinks.out", "plain/e.ndjson", "Not a directory", "set path"),
    ),
    "file sink on a full device": Mistake(
        call=("run", *FILE_SINK, "sinks.out.path=/dev/full"),
        code=2,
        words=("sinks.out", "/dev/full", "set path to a file of its own"),
    ),
    "file sink on somebody's notes": Mistake(
        call=("run", *FILE_SINK, "sinks.out.path=plain"),
        code=2,
        words=("sinks.out", "does not end like a file of events", "new file"),
    ),
}


def said(mistake: Mistake, cwd: Path) -> tuple[int, str]:
    """Make it; the exit code and the message, after a look that it is one and is fit to be read."""
    cwd.joinpath("plain").write_text("somebody's notes, no newline " * 50)
    for name, text in mistake.files.items():
        cwd.joinpath(name).write_text(text)
    done = poller(*mistake.call, cwd=cwd, environment={**CREDENTIALS, **mistake.environment})
    assert done.stdout == ""
    return done.returncode, one_message(done.stderr)


def one_message(stderr: str) -> str:
    """Return what stderr says: one message of ours, or of the reader of the command line."""
    assert "Traceback" not in stderr
    assert not any(secret in stderr for secret in SECRETS)
    lines = stderr.rstrip("\n").splitlines()
    if lines[0].startswith("Usage: "):
        *_, last = lines
        assert last.startswith("Error: ")
        return last + "\n"
    assert lines[0].startswith("poller: ")
    assert all(line.startswith("  Fix: ") for line in lines[1:])
    assert len(lines) <= 2
    return stderr


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_has_one_message(tmp_path: Path, mistake: Mistake) -> None:
    """It names the field and the fix; the exit code says whose it is; events are not mixed in."""
    code, message = said(mistake, tmp_path)
    assert [word for word in mistake.words if word not in message] == []
    assert code == mistake.code


def test_several_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    """Two bad settings need one run, not two."""
    done = poller(
        *("run", "--set", "polling.settle=x", "--set", "log.level=loud"),
        cwd=tmp_path,
        environment=CREDENTIALS,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("poller: bad settings, 2 problems:\n- ")
    assert "polling.settle" in done.stderr
    assert "log.level" in done.stderr


def test_a_file_that_another_process_writes(tmp_path: Path) -> None:
    """A second writer is refused: it would tear the first one's lines."""
    with tmp_path.joinpath("e.ndjson").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        mistake = Mistake(
            call=("run", *FILE_SINK, "sinks.out.path=e.ndjson"),
            code=1,
            words=("sinks.out", "e.ndjson", "another process", "a path of its own"),
        )
        test_a_mistake_has_one_message(tmp_path, mistake)


def test_a_store_that_another_daemon_has(tmp_path: Path) -> None:
    """The second daemon names the first one's pid, and what to do in place of a second one."""
    with FakeApi() as api, Poller("run", cwd=tmp_path, environment=api.environment) as first:
        eventually(lambda: bool(first.logged("daemon.started")))
        pid = first.process.pid
        mistake = Mistake(
            call=("run",), code=1, words=("store.url", f"pid {pid}", "`poller add ID`")
        )
        test_a_mistake_has_one_message(tmp_path, mistake)
        assert first.stop() == 0


@pytest.mark.parametrize("position", [0, 1], ids=["first", "last"])
def test_a_bad_id_among_good_ones_registers_nothing(tmp_path: Path, position: int) -> None:
    """All or none: what was called wrongly leaves no trace, wherever the mistake stands."""
    ids = [GOOD]
    ids.insert(position, "nonsense")
    done = poller("run", "--until-idle", *ids, cwd=tmp_path, environment=CREDENTIALS)
    assert done.returncode == 2
    assert "'nonsense'" in one_message(done.stderr)
    assert list(tmp_path.iterdir()) == []
    with FakeApi() as api:
        api.script(GOOD, [operation(GOOD, "COMPLETED", delivered=1)])
        again = poller("run", "--until-idle", cwd=tmp_path, environment=api.environment)
        assert again.returncode == 0
        assert again.stdout == ""
        assert api.requests == []
