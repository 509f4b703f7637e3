"""What became of each of many operations: a line each, as soon as it is known."""

import sys
from collections.abc import Mapping
from typing import Any

from poller.cli.failures import EXIT_TROUBLE
from poller.cli.tables import is_terminal
from poller.text import dump_json, printable

__all__ = ["Results"]


class Results:
    """Prints results; `exit_code` is 1 once one was bad.

    For people and pipes a line is what it is about, a word and perhaps an explanation, apart by
    tabs in a pipe; with `json_output` it is the document.
    """

    def __init__(self, *, json_output: bool) -> None:
        self._json = json_output
        self._gap = "  " if is_terminal() else "\t"
        self.exit_code = 0

    def tell(
        self, subject: str, word: str, *, detail: str | None, document: Mapping[str, Any], bad: bool
    ) -> None:
        """Print one result."""
        if bad:
            self.exit_code = EXIT_TROUBLE
        if self._json:
            sys.stdout.write(dump_json(document) + "\n")
            return
        cells = [subject, word, *([printable(detail, limit=500)] if detail else [])]
        sys.stdout.write(self._gap.join(cells) + "\n")

    def flush(self) -> None:
        """Let the reader have what was printed."""
        sys.stdout.flush()
