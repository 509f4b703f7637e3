"""`poller show ID --messages` and `--failed`, against the simulator, with no daemon about."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer

from poller.cli.commands.show import Form, MessageChoice, show_messages
from poller.cli.session import Target
from poller.comms.kinds import KINDS, kind_named
from poller.control.errors import Unreachable, WrongKind
from poller.settings import SettingsError
from poller.simulator import Scenario
from tests.cli.surroundings import Surroundings
from tests.control.fake_daemon import FakeDaemon, document
from tests.control.fake_daemon import Reply as DaemonReply
from tests.fakes.api import FakeApi, Reply, envelope, operation, operation_id
from tests.fakes.simulated import Simulated

A = operation_id(1)
TROUBLED = Scenario(fallback=0.1, read=0.1, failed=0.04, undelivered=0.03, seconds=60.0)
Show = Callable[..., tuple[int, str, str]]


@pytest.fixture
def simulated(here: Surroundings) -> Iterator[Simulated]:
    """Point the environment at a simulator."""
    with Simulated() as server:
        here.set(server.environment, POLLER_SERVER__LISTEN="")
        yield server


@pytest.fixture
def api(here: Surroundings) -> Iterator[FakeApi]:
    """Point the environment at an API with one operation, without errors and messages."""
    with FakeApi() as server:
        server.script(A, [operation(A, "COMPLETED", total=3, failed=3)])
        server.script("Errors", [{"errors": [], "pagination": {"next": None}}])
        server.script("Messages", [{"messages": [], "pagination": {"next": None}}])
        here.set(
            server.environment, POLLER_API__REQUESTS_PER_SECOND="10000", POLLER_SERVER__LISTEN=""
        )
        yield server


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    """Return `show(ID, …)`: the exit code, standard output and standard error."""

    def run_it(
        name: str,
        *,
        failed: bool = True,
        kind: str | None = "messages",
        form: Form = Form.JSON,
        url: str | None = None,
    ) -> tuple[int, str, str]:
        row = None if kind is None else kind_named(kind)
        scope = MessageChoice(only_failed=failed, kind=row, form=form)
        try:
            code = show_messages(Target(url), name, choice=scope, events=20)
        except typer.Exit as end:
            code = end.exit_code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run_it


def ended(simulated: Simulated, *, recipients: int = 300, **options: Any) -> str:  # noqa: ANN401 - what a send takes
    """Return the id of an operation that has ended."""
    sent = simulated.world.send(recipients=recipients, fate=TROUBLED, **options)
    simulated.advance(600)
    return sent.id


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("failed", [True, False])
def test_what_is_shown_is_the_truth(
    simulated: Simulated,
    show: Show,
    kind: str,
    failed: bool,  # noqa: FBT001 - the parameter of the test
) -> None:
    """Of every kind: counts by code, by status and channel, and each message with its code."""
    name = ended(simulated, kind=kind)
    truth = simulated.world.expected(name)
    code, out, _ = show(name, failed=failed, kind=kind)
    shown = json.loads(out)
    assert code == 0
    assert (shown["id"], shown["kind"], shown["status"]) == (name, kind, "COMPLETED")
    assert shown["breakdown"]["complete"] is True
    assert {one["code"]: one["count"] for one in shown["breakdown"]["errors"]} == truth.codes
    wanted = {
        (status, channel): count
        for channel, counts in truth.channels.items()
        for status, count in counts.items()
        if KINDS[kind].items and (not failed or status in KINDS[kind].failed_statuses)
    }
    counted = {(one["status"], one["channel"]): one for one in shown["breakdown"]["messages"]}
    assert {place: one["count"] for place, one in counted.items()} == wanted
    assert Counter((one["status"], one["channel"]) for one in shown["messages"]) == wanted
    codes = {one: code for code, contexts in truth.contexts.items() for one in contexts}
    for one in shown["messages"]:
        assert one["code"] == codes.get(one["id"])
        assert one["updatedAt"]
        assert one.keys() == {"id", "status", "channel", "code", "updatedAt"}


def test_the_failed_ids_as_csv(simulated: Simulated, show: Show) -> None:
    """A header, then a line a message, and nothing else on standard output."""
    name = ended(simulated)
    truth = simulated.world.expected(name)
    code, out, _ = show(name, form=Form.CSV)
    header, *rows = csv.reader(io.StringIO(out))
    assert code == 0
    assert header == ["id", "status", "channel", "code", "updated_at"]
    expected = {
        (one, str(number)) for number, contexts in truth.contexts.items() for one in contexts
    }
    assert {(row[0], row[3]) for row in rows} == expected
    assert {row[1] for row in rows} == {"FAILED", "UNDELIVERED"}


def test_tables_for_a_person(simulated: Simulated, show: Show) -> None:
    """The operation, the errors with text, link and samples, the counts, the messages."""
    name = ended(simulated)
    truth = simulated.world.expected(name)
    code, out, _ = show(name, form=Form.TABLES)
    assert code == 0
    facts, causes, counts, rows = out.split("\n\n")
    assert facts.startswith(f"operation\t{name}\nkind\tmessages\nstatus\tCOMPLETED\nprogress\t300")
    assert causes.startswith("CODE\tCOUNT\tTEXT\tSAMPLES\n")
    text = "Unreachable destination handset. https://www.twilio.com/docs/api/errors/30003"
    samples = " ".join(truth.contexts[30003][:5])
    assert f"30003\t{truth.codes[30003]}\t{text}\t" in causes
    assert set(samples.split()) <= set(causes.split())
    assert counts.startswith("STATUS\tCHANNEL\tCOUNT\n")
    assert f"UNDELIVERED\tSMS\t{truth.statuses['UNDELIVERED']}" in counts
    assert len(rows.splitlines()) == 1 + truth.statuses["UNDELIVERED"] + truth.statuses["FAILED"]


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("failed", [True, False])
def test_no_address_and_no_content_is_shown(
    simulated: Simulated,
    show: Show,
    form: Form,
    failed: bool,  # noqa: FBT001 - the parameter of the test
) -> None:
    """With default settings neither output stream holds any."""
    recipients = [{"address": f"+1415555{n:04}", "channel": "PHONE"} for n in range(40)]
    sent = simulated.world.send(
        recipients=recipients, fate=Scenario(failed=1.0), text="Your code: 493 021"
    )
    simulated.advance(600)
    _, out, err = show(sent.id, failed=failed, form=form)
    assert "comms_message_" in out
    for secret in ("+1415", "1415555", "•••", "493 021", simulated.config.auth_token):
        assert secret not in out + err


def test_addresses_are_masked_where_they_are_wanted(
    simulated: Simulated, show: Show, here: Surroundings
) -> None:
    """With the messages and with the samples, never in CSV."""
    here.set(POLLER_POLLING__INCLUDE_ADDRESSES="masked")
    sent = simulated.world.send(
        recipients=[{"address": "+14155551002", "channel": "PHONE"}], fate=Scenario(failed=1.0)
    )
    simulated.advance(600)
    shown = json.loads(show(sent.id)[1])
    assert shown["messages"][0]["to"] == ["+1415•••1002"]
    assert shown["breakdown"]["errors"][0]["samples"][0]["to"] == ["+1415•••1002"]
    table = show(sent.id, form=Form.TABLES)[1]
    assert "\tTO\n" in table
    assert "(+1415•••1002)" in table
    assert "+1415" not in show(sent.id, form=Form.CSV)[1]


def test_thousands_of_messages_cost_few_requests(simulated: Simulated, show: Show) -> None:
    """One for each thousand; the failed ones alone cost hardly any."""
    name = ended(simulated, recipients=2_500)
    before = simulated.requests()
    assert show(name)[0] == 0
    between = simulated.requests()
    assert between - before <= 6
    _, out, _ = show(name, failed=False)
    assert simulated.requests() - between <= 6
    assert len(json.loads(out)["messages"]) == 2_500


def test_an_operation_without_failures(simulated: Simulated, show: Show) -> None:
    """It is said, and it is no trouble."""
    name = simulated.world.send(recipients=3, fate="smooth").id
    simulated.advance(600)
    code, out, err = show(name, form=Form.TABLES)
    assert (code, "no message failed" in err) == (0, True)
    assert "ID\t" not in out


def test_without_daemon_and_kind(simulated: Simulated, show: Show) -> None:
    """Both are said, with the way out."""
    _, _, err = show(ended(simulated), kind=None)
    assert "server.listen is empty" in err
    assert "assuming an operation of kind messages; set another one with --kind" in err


def test_another_kind(simulated: Simulated, show: Show) -> None:
    """An operation that is not found asks for its kind."""
    code, out, err = show(ended(simulated, kind="emails"))
    assert (code, out) == (1, "")
    assert "check its kind (--kind: messages, emails, " in err


def test_a_daemon_that_was_named_has_to_answer(simulated: Simulated, show: Show) -> None:
    """Nothing is read from elsewhere."""
    with pytest.raises(Unreachable, match="no daemon answers"):
        show(ended(simulated), url="unix:/nowhere/poller.sock")


def test_without_credentials(here: Surroundings, show: Show) -> None:
    """The settings that are missing are named."""
    here.set(POLLER_SERVER__LISTEN="")
    with pytest.raises(SettingsError, match="TWILIO_AUTH_TOKEN"):
        show(A)


def test_a_throttled_request_waits_as_the_answer_asks(api: FakeApi, show: Show) -> None:
    """It says so, one request at a time, and goes on where it was."""
    busy = Reply(status=429, body=envelope(20429, "Too many"), headers={"Retry-After": "1"})
    api.script("Errors", [busy, Reply(body={"errors": [{"code": 30003}]})])
    code, out, err = show(A)
    assert code == 0
    assert json.loads(out)["breakdown"]["errors"][0]["code"] == 30003
    assert "(20429: Too many); retrying in 1 s" in err
    first, second = (api.times[n] for n, path in enumerate(api.requests) if "Errors" in path)
    assert second - first >= 0.2
    assert api.peak == 1


def test_a_long_wait_is_not_waited_for(api: FakeApi, show: Show) -> None:
    """The message says how long it would be."""
    body = envelope(20429, "Too many")
    api.script("Errors", [Reply(status=429, body=body, headers={"Retry-After": "300"})])
    code, out, err = show(A)
    assert (code, out) == (1, "")
    assert "try again in 300 s" in err
    assert api.count("/Errors?pageSize=1000") == 1


def test_what_cannot_be_read_is_missing(api: FakeApi, show: Show) -> None:
    """The rest is shown, what is missing is named, and the exit code says it."""
    api.script("Errors", [Reply(status=404, body=envelope(20404, "not here"))])
    code, out, err = show(A, failed=False)
    assert code == 1
    assert json.loads(out)["breakdown"]["missing"] == ["errors"]
    assert "list errors" in err
    api.script("Errors", [Reply(body={"errors": []})])
    api.script("Messages", [Reply(body={"nothing": 1})])
    code, out, err = show(A, failed=False)
    assert code == 1
    assert json.loads(out)["breakdown"]["missing"] == ["messages"]
    assert "list messages" in err


def test_a_list_without_end_is_left(api: FakeApi, show: Show) -> None:
    """A token that repeats ends it; what was read is shown."""
    one = {"id": "comms_message_" + "0" * 26, "status": "FAILED"}
    api.script("Messages", [Reply(body={"messages": [one], "pagination": {"next": "again"}})])
    code, out, err = show(A, failed=False)
    assert code == 1
    assert [row["id"] for row in json.loads(out)["messages"]] == [one["id"]]
    assert "does not end" in err


@pytest.mark.parametrize(
    ("reply", "fix"),
    [
        (Reply(status=401, body=envelope(20003, "Authenticate")), "`poller check`"),
        (Reply(status=403, body=envelope(20403, "No")), "give the API key access"),
        (Reply(status=400, body=envelope(20001, "Bad")), "check the id"),
    ],
)
def test_a_refusal_says_what_to_do(api: FakeApi, show: Show, reply: Reply, fix: str) -> None:
    """One message, without the daemon's promises."""
    api.override = reply
    code, out, err = show(A)
    assert (code, out) == (1, "")
    assert fix in err
    assert "again later" not in err


def test_codes_are_learned_from_messages_too(api: FakeApi, show: Show) -> None:
    """Where no error names a message, one is fetched for its code."""
    one = {"id": "comms_message_" + "0" * 26, "status": "FAILED"}
    attempts = [{"status": "FAILED", "error": {"code": 30003}}]
    api.script("Errors", [{"errors": [{"code": "30003"}]}])
    api.script("Messages", [{"messages": [one]}])
    api.script(one["id"], [{**one, "attempts": attempts}])
    shown = json.loads(show(A)[1])
    assert [(row["id"], row["code"]) for row in shown["messages"]] == [(one["id"], 30003)]
    assert shown["breakdown"]["errors"][0]["samples"] == [{"id": one["id"]}]


@pytest.mark.usefixtures("here")
def test_an_operation_that_only_the_daemon_knows(show: Show, here: Surroundings) -> None:
    """Where the API answers 404 nobody says that no message failed; another kind is refused."""
    with FakeApi() as api, FakeDaemon(lambda _: DaemonReply(body=document(A))) as daemon:
        here.set(api.environment, POLLER_API__REQUESTS_PER_SECOND="10000")
        url = str(daemon.address)
        for failed in (True, False):
            code, _, err = show(A, failed=failed, kind=None, url=url)
            assert code == 1
            assert "404" in err
            assert "no message" not in err
            assert "may be missing" in err
        with pytest.raises(WrongKind, match="as one of messages, not emails; leave --kind out"):
            show(A, kind="emails", url=url)
