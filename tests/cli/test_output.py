"""Tables on terminals of several widths."""

from io import StringIO

from rich.console import Console

from poller.cli.output import draw_table, wrapped
from tests.golden.test_golden import compare

SINKS = ("SINK", "STATE", "SINCE", "WAITING", "OLDEST", "DEAD", "NEXT ATTEMPT", "LAST ERROR")
ERROR = "http://127.0.0.1:9: connection refused; is the receiver running, and is the url right?"
LETTERS = ("EVENT", "SINK", "TYPE", "SUBJECT", "GIVEN UP", "ATTEMPTS", "LAST ERROR")
SUBJECT = "comms_operation_4cmtqqee4dxct8s9nfeww9vtsm"
EVENT = "01a2246f-a14d-7cdd-b5f3-3462ce652a55"


def drawn(width: int) -> str:
    """Draw sinks and dead letters."""
    console = Console(file=StringIO(), width=width, force_terminal=False, highlight=False)
    sinks = [
        ("stdout", "ok", "3m 20s ago", "0", "–", "0", "–", "–"),
        ("crm", "failing", "11s ago", "2", "11s ago", "0", "in 3s", ERROR),
    ]
    letter = (EVENT, "crm", "operation.completed", SUBJECT, "2026-11-28T23:13:44Z", "9", ERROR)
    with console.capture() as capture:
        draw_table(console, SINKS[:-1], [row[:-1] for row in sinks])
        draw_table(console, SINKS, sinks)
        draw_table(console, LETTERS, [letter])
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def test_tables_fit_and_break_no_word() -> None:
    """At 80 and at 120 columns; every word is found whole."""
    for width in (80, 120):
        lines = drawn(width).splitlines()
        assert max(map(len, lines)) <= width
        words = " ".join(lines).split()
        assert {*ERROR.split(), SUBJECT, EVENT} <= {word.rstrip(";") for word in words} | set(words)
    compare("tables.txt", f"80 columns\n{drawn(80)}\n\n120 columns\n{drawn(120)}\n")


def test_a_long_word_stays_whole() -> None:
    """An address can then be copied."""
    text = wrapped(f"at {'x' * 90} no-one answers", width=80, begin="why ", indent="    ")
    assert text.splitlines() == ["why at", f"    {'x' * 90}", "    no-one answers"]
