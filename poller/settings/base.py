"""What every section of the settings shares."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from poller.settings.errors import fault

__all__ = ["Count", "Rate", "Section"]


class Section(BaseModel):
    """One table of settings: frozen, strict about its keys, silent about its values in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise fault("not a number", "write a number without quotes")
    return value


Count = Annotated[int, BeforeValidator(_no_boolean)]
"""A whole number; `true` is none, although Python thinks so."""

Rate = Annotated[float, BeforeValidator(_no_boolean)]
"""How often in a second."""
