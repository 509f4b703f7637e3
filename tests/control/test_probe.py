"""The request of a health check: where it goes, and what its answers mean."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from poller.control.address import Address
from poller.control.errors import ControlError, NoDaemon, Unreachable
from poller.control.probe import ask
from tests.control.fake_daemon import FakeDaemon, Reply


@contextmanager
def saying(answer: bytes, *, path: Path | None = None) -> Iterator[Address]:
    """Answer one connection with these bytes."""
    family = socket.AF_INET if path is None else socket.AF_UNIX
    with socket.socket(family) as listener:
        listener.bind(("127.0.0.1", 0) if path is None else str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        if path is None:
            yield Address(host="127.0.0.1", port=listener.getsockname()[1])
        else:
            yield Address(socket=str(path))
        thread.join()


def test_an_answer() -> None:
    """Status and document, of a path below the prefix of the address."""
    with FakeDaemon(lambda _: Reply(status=503, body={"status": "unready"})) as daemon:
        assert ask(daemon.address, "/readyz", timeout=5) == (503, {"status": "unready"})
    assert daemon.paths() == ["/readyz"]


def test_a_socket(tmp_path: Path) -> None:
    """A unix socket is asked alike."""
    answer = b'HTTP/1.1 200 OK\r\nx: y\r\n\r\n{"status": "ok"}'
    with saying(answer, path=tmp_path / "s") as address:
        assert ask(address, "/healthz", timeout=5) == (200, {"status": "ok"})


@pytest.mark.parametrize("name", [b"Content-Length", b"content-length"])
def test_the_length_of_the_body_ends_it(name: bytes) -> None:
    """A server or an ingress may leave the connection open."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n" + name + b": 15\r\n\r\n")
                connection.sendall(b'{"status":"ok"}')
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        address = Address(host="127.0.0.1", port=listener.getsockname()[1])
        assert ask(address, "/healthz", timeout=30) == (200, {"status": "ok"})
        thread.join()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n", "does not speak HTTP"),
        (b"SSH-2.0-x\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", "answered 200 without JSON"),
        (b"HTTP/1.1 200 OK\r\n\r\n[]", "answered 200 without JSON"),
    ],
)
def test_what_is_no_poller(answer: bytes, words: str) -> None:
    """Whatever else listens there is named as something else."""
    with saying(answer) as address, pytest.raises(NoDaemon, match=words):
        ask(address, "/healthz", timeout=5)


def test_nobody(tmp_path: Path) -> None:
    """The message names the address, what the system said, and what to do."""
    with pytest.raises(Unreachable, match=r"unix:.*there is no socket.*poller run.*--url"):
        ask(Address(socket=str(tmp_path / "none")), "/healthz", timeout=5)


def test_silence_ends() -> None:
    """Somebody who accepts and never answers takes no longer than the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(host="127.0.0.1", port=listener.getsockname()[1])
        with pytest.raises(Unreachable, match=r"no complete answer within 0\.05 s"):
            ask(address, "/healthz", timeout=0.05)


def test_a_trickle_ends() -> None:
    """The timeout is one for the whole answer, however often another byte comes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not ended.wait(0.02):
                    connection.sendall(b"x")

        ended = threading.Event()
        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        address = Address(host="127.0.0.1", port=listener.getsockname()[1])
        with pytest.raises(Unreachable, match=r"no complete answer within 0\.2 s"):
            ask(address, "/healthz", timeout=0.2)
        ended.set()
        thread.join()


def test_a_port_that_expects_tls() -> None:
    """An alert in place of a status line."""
    answer = b"\x15\x03\x01\x00\x02\x02F"
    with saying(answer) as address, pytest.raises(Unreachable, match=r"expects TLS.*https://"):
        ask(address, "/healthz", timeout=5)


def test_tls_is_spoken_where_it_is_asked_for() -> None:
    """What does not speak it is an error of the connection, not a traceback."""
    with saying(b"plain") as address:
        encrypted = Address(scheme="https", host=address.host, port=address.port)
        with pytest.raises(ControlError):
            ask(encrypted, "/healthz", timeout=5)
