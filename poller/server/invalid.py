"""What is wrong with a request, in our own words: the field, the fault and the fix."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import Depends
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request

from poller.server.problems import INVALID, FieldError, Problem

__all__ = ["KNOWN_PARAMETERS", "invalid", "invalid_request"]

_SHOWN: Final = 500

_FAULTS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "missing": lambda _: "is missing",
    "int_parsing": lambda _: "must be a whole number",
    "greater_than_equal": lambda context: f"must be at least {context['ge']}",
    "less_than_equal": lambda context: f"must be at most {context['le']}",
    "too_long": lambda context: f"may be given {context['max_length']} times at most",
    "string_too_long": lambda context: f"may have {context['max_length']} characters at most",
    "enum": lambda context: _one_of(context["expected"]),
    "literal_error": lambda context: _one_of(context["expected"]),
    "value_error": lambda context: str(context["error"]),
}


def invalid(field: str, message: str) -> Problem:
    """Say what is wrong with one field."""
    error = FieldError(field=field[:_SHOWN], message=message[:_SHOWN])
    return Problem(INVALID, f"{error.field}: {error.message}", errors=[error])


def invalid_request(error: RequestValidationError) -> Problem:
    """Say what is wrong with parameters and headers."""
    errors = [_field_error(one) for one in error.errors()]
    return Problem(INVALID, f"{errors[0].field}: {errors[0].message}", errors=errors)


async def _only_known_parameters(request: Request) -> None:
    """Refuse a query parameter that the route does not have: it would silently filter nothing.

    :raises Problem: naming it and those that there are.
    """
    route = request.scope["route"]
    known = _parameters(route)
    for name in request.query_params:
        if name not in known:
            there_are = f"there are {', '.join(known)}" if known else "this route takes none"
            raise invalid(name, f"there is no such parameter; {there_are}")


KNOWN_PARAMETERS: Final = Depends(_only_known_parameters)
"""Makes a route refuse query parameters that it does not have."""


def _parameters(route: APIRoute) -> list[str]:
    names: list[str] = []
    for field in route.dependant.query_params:
        model = field.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            names += [found.alias or name for name, found in model.model_fields.items()]
    return names


def _field_error(error: Mapping[str, Any]) -> FieldError:
    # the place within a list says less than the value, which the message names
    field = str(error["loc"][1] if len(error["loc"]) > 1 else error["loc"][0])
    say = _FAULTS.get(error["type"])
    message = "cannot be used as it is" if say is None else say(error.get("ctx", {}))
    return FieldError(field=field, message=message[:_SHOWN])


def _one_of(expected: str) -> str:
    return f"must be one of: {expected.replace(chr(39), '').replace(' or ', ', ')}"
