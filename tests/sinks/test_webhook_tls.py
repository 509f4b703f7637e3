"""A receiver behind a private authority, and one that wants to know who sends: real handshakes."""

from pathlib import Path
from typing import Any

import pytest

from poller.build import configuration
from poller.http.transport import TlsFiles
from poller.settings import SettingsError, SettingsLoader
from poller.sinks.base import SinkUnavailable, SinkVerdict
from poller.sinks.webhook import WebhookSink
from tests.cli.surroundings import Surroundings, surrounded
from tests.fakes.authority import Authority
from tests.fakes.receiver import Receiver
from tests.sinks.test_webhook import _one

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make an authority."""
    return Authority(tmp_path_factory.mktemp("authority"))


def sink(url: str, **files: Path) -> WebhookSink:
    """Make a sink with these files."""
    tls: Any = TlsFiles(setting="sinks.app", **files)
    return WebhookSink(name="app", url=url, timeout=5, tls=tls)


async def verdict(url: str, **files: Path) -> tuple[SinkVerdict, str]:
    """Send an event; what became of it, and the error."""
    made = sink(url, **files)
    try:
        outcome = await _one(made)
    finally:
        await made.aclose()
    return outcome.verdict, outcome.error or ""


async def test_a_private_authority_is_trusted_by_one_sink(authority: Authority) -> None:
    """With `ca`, and only with that."""
    with Receiver(tls=authority.server()) as receiver:
        assert (await verdict(receiver.url, ca=authority.ca))[0] is SinkVerdict.DELIVERED
        failed, error = await verdict(receiver.url)
        assert failed is SinkVerdict.FAILED
        assert "is not trusted" in error


async def test_the_usual_authorities_are_not_trusted_beside_it(authority: Authority) -> None:
    """`ca` names all that are trusted."""
    other = authority.issue("other")[0]
    with Receiver(tls=authority.server()) as receiver:
        assert (await verdict(receiver.url, ca=other))[0] is SinkVerdict.FAILED


async def test_a_receiver_that_wants_a_certificate_gets_it(authority: Authority) -> None:
    """Mutual TLS, with the key beside the certificate or in the same file; without, nothing."""
    certificate, key = authority.issue("client")
    both = certificate.with_suffix(".both")
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    with Receiver(tls=authority.server(wants_client=True)) as receiver:
        ca = authority.ca
        files = {"ca": ca, "client_cert": certificate, "client_key": key}
        assert (await verdict(receiver.url, **files))[0] is SinkVerdict.DELIVERED
        assert (await verdict(receiver.url, ca=ca, client_cert=both))[0] is SinkVerdict.DELIVERED
        assert (await verdict(receiver.url, ca=ca))[0] is SinkVerdict.FAILED
        assert len(receiver.received) == 2


async def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    """Before anything is sent, with the setting; an encrypted key asks nobody for its password."""
    certificate, key = authority.issue("client")
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    wrong: list[tuple[str, dict[str, Path]]] = [
        (r"sinks\.app\.ca", {"ca": tmp_path / "none.pem"}),
        (r"sinks\.app\.ca", {"ca": empty}),
        (r"sinks\.app\.client_cert", {"client_cert": certificate}),
        (
            r"client_cert and client_key",
            {"client_cert": certificate, "client_key": authority.issue("another")[1]},
        ),
        (
            r"client_cert and client_key",
            {"client_cert": certificate, "client_key": authority.encrypt(key)},
        ),
    ]
    for words, files in wrong:
        made = sink("https://127.0.0.1:9/", **files)
        with pytest.raises(SinkUnavailable, match=words) as refused:
            await made.start()
        assert refused.value.needs_change


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Surroundings:
    """Work in an empty directory."""
    return surrounded(monkeypatch, tmp_path)


def test_a_renewed_certificate_makes_the_sink_again(here: Surroundings) -> None:
    """A reload keeps what is the same, and a file that was replaced is not the same."""
    file = here.directory / "ca.pem"
    here.set(
        POLLER_SINKS__APP__TYPE="webhook",
        POLLER_SINKS__APP__URL="https://h/",
        POLLER_SINKS__APP__CA=str(file),
    )

    def key() -> object:
        loader = SettingsLoader()
        [plan] = configuration(loader.load().settings, loader.credentials).sinks
        return plan.key

    keys = [key()]
    file.write_text("one")
    keys += [key(), key()]
    file.write_text("another")
    keys.append(key())
    assert keys[1] == keys[2]
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"URL": "http://h/", "CA": "/ca.pem"}, "sinks.app.ca .*: requires https"),
        ({"URL": "https://h/", "CLIENT_KEY": "/k.pem"}, "sinks.app.client_key .*: a key without"),
    ],
)
def test_what_makes_no_sense_is_refused(
    here: Surroundings, settings: dict[str, str], words: str
) -> None:
    """With the setting that is wrong."""
    here.set({f"POLLER_SINKS__APP__{name}": value for name, value in settings.items()})
    here.set(POLLER_SINKS__APP__TYPE="webhook")
    with pytest.raises(SettingsError, match=words):
        SettingsLoader().load()
