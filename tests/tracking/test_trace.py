"""W3C Trace Context: what is taken, and what is refused by name."""

import pytest

from poller.tracking.registration import BadRegistration, Defaults, parse_registration
from poller.tracking.trace import Trace

ID = "comms_operation_01h9krwprkeee8fzqspvwy6nq8"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    "state",
    [
        "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        "rojo=1 ,\tcongo=2",
        "fw529a3039@dt=FfAAAA",
        "a=with inner spaces",
        ",".join(f"k{number}=v" for number in range(32)),
    ],
)
def test_what_is_valid(state: str) -> None:
    """It is carried on as it is."""
    document = {"id": ID, "traceparent": PARENT, "tracestate": state}
    trace = parse_registration(document).trace
    assert trace is not None
    assert trace.members == {"traceparent": PARENT, "tracestate": state}


@pytest.mark.parametrize(
    "parent",
    [
        "",
        PARENT.upper(),
        PARENT + "-00",
        "01" + PARENT[2:],
        "ff" + PARENT[2:],
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
        PARENT + "\n",
        None,
        1,
    ],
)
def test_a_traceparent_that_is_none(parent: object) -> None:
    """Named, and with an example of one."""
    with pytest.raises(BadRegistration) as raised:
        parse_registration({"id": ID, "traceparent": parent})
    assert raised.value.field == "traceparent"


@pytest.mark.parametrize(
    "state",
    [
        "",
        "rojo",
        "Rojo=1",
        "rojo=1,rojo=2",
        "rojo=a=b",
        "rojo=1,",
        "rojo=ends with a space ",
        "rojo=é",
        "rojo=1\r\nx-injected: 1",
        ",".join(f"k{number}=v" for number in range(33)),
        "long=" + "v" * 600,
    ],
)
def test_a_tracestate_that_is_none(state: str) -> None:
    """It would become a header."""
    with pytest.raises(BadRegistration) as raised:
        parse_registration({"id": ID, "traceparent": PARENT, "tracestate": state})
    assert raised.value.field == "tracestate"


def test_a_tracestate_goes_with_a_traceparent() -> None:
    """Alone it says nothing."""
    with pytest.raises(BadRegistration, match="goes with a traceparent only"):
        parse_registration({"id": ID, "tracestate": "rojo=1"})


def test_a_trace_for_all() -> None:
    """A registration that has its own keeps it."""
    defaults = Defaults(trace=Trace(traceparent=PARENT))
    assert parse_registration({"id": ID}, defaults).trace == defaults.trace
    other = PARENT[:-2] + "00"
    own = parse_registration({"id": ID, "traceparent": other}, defaults).trace
    assert own == Trace(traceparent=other)
