"""The taxonomy: whose fault, whether to ask again, and one sentence that says so."""

import pytest

from poller.comms import errors
from poller.comms.errors import CommsError, Fault, Scope

ALL = list(vars(errors).values())
CLASSES = [cls for cls in ALL if isinstance(cls, type) and issubclass(cls, CommsError)]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_each_names_what_was_asked_whose_fault_and_the_remedy(cls: type[CommsError]) -> None:
    """The sentence is complete without any help, and says what the API said."""
    error = cls("fetch x", "the API answered 418", status=418, code=7, text="short and stout")
    assert str(error) == (
        f"fetch x: the API answered 418 (7: short and stout); fault: {error.fault}; {error.hint}"
    )
    assert error.fault in Fault
    assert error.hint


def test_only_what_time_can_repair_is_retryable() -> None:
    """Credentials, permissions, ids and senseless answers do not change within minutes."""
    final = {cls for cls in CLASSES if not cls.retryable}
    assert final == {
        errors.Unauthorized,
        errors.Forbidden,
        errors.NotFound,
        errors.Rejected,
        errors.NonsensicalAnswer,
        errors.TooLarge,
    }


def test_each_says_what_it_speaks_of() -> None:
    """The account pauses for three of them, a kind for one; five say that the API is unusable."""
    by_scope: dict[Scope, set[type[CommsError]]] = {scope: set() for scope in Scope}
    for cls in CLASSES:
        by_scope[cls.scope].add(cls)
    assert by_scope == {
        Scope.ACCOUNT: {errors.Throttled, errors.Unavailable},
        Scope.CREDENTIALS: {errors.Unauthorized},
        Scope.KIND: {errors.Forbidden},
        Scope.REQUEST: {errors.NotFound, errors.Rejected},
        Scope.CONNECTION: {errors.NetworkError, errors.DeadlineExceeded},
        Scope.ANSWER: {
            CommsError,
            errors.ServerError,
            errors.Unexpected,
            errors.NonsensicalAnswer,
            errors.TooLarge,
        },
    }
    assert {scope for scope in Scope if scope.is_pause} == {
        Scope.ACCOUNT,
        Scope.CREDENTIALS,
        Scope.KIND,
    }
    assert {scope for scope in Scope if scope.is_outage} == {Scope.ANSWER, Scope.CONNECTION}


def test_each_has_a_label_of_its_own() -> None:
    """Two kinds of failure are never counted as one."""
    assert len({cls.label for cls in CLASSES}) == len(CLASSES)


def test_nonsense_is_an_unexpected_answer_of_its_own() -> None:
    """It can be distinguished, and caught with the others."""
    assert issubclass(errors.NonsensicalAnswer, errors.Unexpected)


def test_fault_and_hint_of_an_instance_win() -> None:
    """What the class says is the default."""
    error = errors.NetworkError("a", "b", hint="turn it off and on", fault=Fault.CONFIGURATION)
    assert str(error) == "a: b; fault: configuration; turn it off and on"
    assert errors.NetworkError.fault is Fault.NETWORK
