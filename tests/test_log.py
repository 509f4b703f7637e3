"""Log lines go through structlog where the program configured it, else to the standard library."""

import logging

import pytest
import structlog
from structlog.testing import capture_logs

from poller.log import get_logger


def test_a_program_that_configured_nothing_gets_records_and_no_output(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default structlog writes to standard output, which belongs to the program."""
    structlog.reset_defaults()
    with caplog.at_level(logging.INFO, logger="poller"):
        get_logger().bind(sink="app").info("sink.recovered", share="100%", failures=3)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("poller", logging.INFO)
    assert record.getMessage() == "sink.recovered sink='app' share='100%' failures=3"
    assert capsys.readouterr() == ("", "")
    assert not structlog.is_configured()


def test_a_level_that_is_off_costs_no_line(caplog: pytest.LogCaptureFixture) -> None:
    """The program's own level holds."""
    structlog.reset_defaults()
    with caplog.at_level(logging.WARNING, logger="poller"):
        get_logger().info("operation.completed")
    assert not caplog.records


@pytest.mark.defects("logs an exception as a defect does")
def test_the_traceback_of_a_defect_is_in_the_record(caplog: pytest.LogCaptureFixture) -> None:
    """It is the only trace of what went wrong."""
    structlog.reset_defaults()
    with caplog.at_level(logging.ERROR, logger="poller"):
        fields: dict[str, str] = {}
        try:
            fields["subject"]
        except KeyError:
            get_logger().exception("test.failed", loop="poll")
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is KeyError
    assert record.getMessage() == "test.failed loop='poll'"


def test_configured_structlog_gets_the_fields() -> None:
    """As `poller run` configures it, or a program that uses structlog itself."""
    with capture_logs() as lines:
        get_logger().bind(sink="app").warning("sink.failing", error="no answer")
    assert lines == [
        {
            "event": "sink.failing",
            "sink": "app",
            "error": "no answer",
            "log_level": "warning",
        }
    ]
