"""What must not come out: addresses as people write them, and messages that are full of them."""

from typing import Any

from hypothesis import strategies as st

__all__ = ["ADDRESSES", "EMAILS", "JSON", "MESSAGES", "NUMBERS", "TEXTS", "WRITTEN_NUMBERS"]

# drawing from a regular expression takes twenty times as long
NUMBERS = st.integers(7, 15).flatmap(
    lambda digits: st.integers(10 ** (digits - 1), 10**digits - 1).map("+{}".format)
)
"""E.164."""


@st.composite
def _written(draw: st.DrawFn) -> str:
    """Draw a number of 7 to 15 digits with what people put between them."""
    groups = draw(st.lists(st.text("0123456789", min_size=2, max_size=4), min_size=4, max_size=5))
    gap = draw(st.sampled_from([" ", "-", ".", " - ", "\u2011", "\u00a0", " \u2013 "]))
    form = draw(st.sampled_from(["{0}{gap}{rest}", "+{0} ({1}) {tail}", "({0}) {rest}"]))
    digits = len("".join(groups))
    if digits > 15:
        groups = groups[:3]
    return form.format(*groups, gap=gap, rest=gap.join(groups[1:]), tail=gap.join(groups[2:]))


WRITTEN_NUMBERS = _written()
EMAILS = st.sampled_from(
    [
        "jane.doe@example.com",
        "jane+tag@example.co.uk",
        "jane_doe-1@sub.example.org",
        "o'jane@example.com",
        "jane@bücher.example",
        "14155551002.jane@example.net",
        "jane@localhost",
    ]
)
ADDRESSES = st.one_of(NUMBERS, WRITTEN_NUMBERS, EMAILS)
TEXTS = ("Thanks for joining us today!", "Your code: 493 021", "Dear Jane Doe, hi")
_SECRETS = st.one_of(ADDRESSES, st.sampled_from(TEXTS))

_NAMES = st.sampled_from(
    "id status from to address channel senderId attempts attemptedAt infoUrl error code message "
    "related name uri scheduledFor createdAt updatedAt deletedAt tags content text media url "
    "context profile".split()
)
_PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["SMS", "FAILED", "2023-08-24T14:15:22Z", "https://example.com/1"]),
)
_LEAVES = st.one_of(_PLAIN, _SECRETS)


def _nested(leaves: int) -> st.SearchStrategy[Any]:
    return st.recursive(
        _LEAVES,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(st.one_of(_NAMES, st.text(max_size=10), _SECRETS), inner, max_size=8),
        ),
        max_leaves=leaves,
    )


JSON = _nested(25)
"""Any JSON, with addresses and texts of messages planted as values and as names."""


def _shaped(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    known = {name: st.one_of(right, _LEAVES, _MEMBERS) for name, right in members.items()}
    return st.builds(lambda extra, right: {**extra, **right}, _EXTRA, _some(known))


def _some(known: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=known)


# a document has many members: they need not be as large as one that stands alone
_MEMBERS = _nested(5)
_EXTRA = st.dictionaries(st.one_of(_NAMES, _SECRETS), _MEMBERS, max_size=2)
_RECIPIENTS = st.lists(_shaped(address=_SECRETS, channel=st.just("PHONE")), max_size=3)
_SENDER = _shaped(address=_SECRETS, channel=st.just("SMS"), senderId=_LEAVES)
_ERROR = _shaped(code=st.just(30003), message=_SECRETS, infoUrl=_LEAVES)
_ATTEMPT = _shaped(**{"from": _SENDER}, to=_RECIPIENTS, status=_LEAVES, error=_ERROR)
MESSAGES = _shaped(
    **{"from": _SENDER},
    id=_LEAVES,
    status=_LEAVES,
    to=_RECIPIENTS,
    attempts=st.lists(_ATTEMPT, max_size=3),
    related=st.lists(_shaped(name=_LEAVES, id=_LEAVES, uri=_LEAVES), max_size=2),
    tags=st.dictionaries(st.one_of(_NAMES, _SECRETS), _LEAVES, max_size=3),
    content=_shaped(text=_SECRETS),
    scheduledFor=_LEAVES,
)
"""Documents shaped like a message, more or less, with secrets planted everywhere."""
