"""Which options of `poller show` go together."""

from typing import Any

import pytest
import typer

from poller.cli.commands.show import Form, MessageChoice, message_choice
from poller.comms.kinds import KINDS

OPERATION = "comms_operation_01h9krwprkeee8fzqspvwy6nq8"
MESSAGE = "comms_message_01h9krwprkeee8fzqspvwy6nq8"
NOTHING: dict[str, Any] = {
    "messages": False,
    "failed": False,
    "kind": None,
    "csv": False,
    "json_output": False,
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"json_output": True}, None),
        ({"messages": True}, MessageChoice(only_failed=False, kind=None, form=Form.TABLES)),
        (
            {"failed": True, "csv": True, "kind": "emails"},
            MessageChoice(only_failed=True, kind=KINDS["emails"], form=Form.CSV),
        ),
        (
            {"messages": True, "json_output": True},
            MessageChoice(only_failed=False, kind=None, form=Form.JSON),
        ),
    ],
)
def test_what_goes_together(given: dict[str, Any], expected: MessageChoice | None) -> None:
    """Without --messages and --failed it is the old command."""
    assert message_choice(OPERATION, **{**NOTHING, **given}) == expected


@pytest.mark.parametrize(
    ("watchable", "given", "hint", "said"),
    [
        (OPERATION, {"csv": True}, "--csv", "requires --messages or --failed"),
        (OPERATION, {"kind": "emails"}, "--kind", "requires --messages or --failed"),
        (OPERATION, {"messages": True, "failed": True}, "--failed", "choose one"),
        (OPERATION, {"failed": True, "csv": True, "json_output": True}, "--csv", "choose one"),
        (OPERATION, {"failed": True, "kind": "letters"}, "--kind", "one of: messages"),
        (MESSAGE, {"messages": True}, "ID", "name the operation that sent it"),
    ],
)
def test_what_does_not_go_together(
    watchable: str, given: dict[str, Any], hint: str, said: str
) -> None:
    """The message names the option and the way out."""
    with pytest.raises(typer.BadParameter, match=said) as raised:
        message_choice(watchable, **{**NOTHING, **given})
    assert raised.value.param_hint == hint
