"""Phone numbers and e-mail addresses in text: found, hidden and masked. Pure.

Every pattern runs in time linear in its text: repetitions are possessive or bounded.
"""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from poller.text import one_line

HIDDEN: Final = "•••"

_LONGEST: Final = 500
# Of a longer text only the window is searched; its end is dropped, since it may hold half a number.
_WINDOW: Final = 4000
_FRAYED: Final = 400
_LONGEST_ADDRESS: Final = 320  # RFC 5321: 64 + 1 + 255
# From this length on the usual mask, four digits at each end, hides enough of a number: 3 of 11.
_USUAL_DIGITS: Final = 11

_DASHES: Final = "\\-\u2010-\u2015\u2212\uff0d"
_PLUS: Final = "[+\uff0b]"
_AT: Final = "[@\uff20\ufe6b]"
_LOCAL: Final = '[^ @\uff20\ufe6b<>()\\[\\]{},;:"|\\\\/]'

_ANY_URL: Final = r'(?i:https?)://[^ <>"]+'
_URL: Final = re.compile(_ANY_URL)
_EMAIL: Final = re.compile(rf'(?:"[^"@]{{1,64}}"|(?<!{_LOCAL}){_LOCAL}++){_AT}\[?[\w.\-]*\w')
_GAP: Final = rf"(?>\.| ?[{_DASHES}()]{{1,2}} ?| )?"
_TIME: Final = r"(?:[Tt ][0-2]\d:[0-5]\d(?::[0-6]\d(?:\.\d{1,9})?)?)?"
# What may hold seven digits in a row but is not a phone number: the vendor's ids and SIDs, UUIDs,
# dates, and long tokens in which letters and digits alternate.
_INNOCENT: Final = (
    r"(?<![A-Za-z0-9_])comms_[a-z]{2,40}_[0-7][a-z0-9]{25,34}(?![A-Za-z0-9])",
    r"(?<![A-Za-z0-9])[A-Z]{2}[0-9a-f]{32}(?![A-Za-z0-9])",
    r"(?<![A-Za-z0-9])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![A-Za-z0-9])",
    rf"(?<!\d)(?:19|20)\d\d-[01]\d-[0-3]\d{_TIME}(?!\d)",
    r"(?<![A-Za-z0-9])(?=\d*+(?:[A-Za-z]++\d++){2})[A-Za-z0-9]{20,}+",
)
_NUMBER: Final = rf"(?P<number>{_PLUS}?\(?\d(?:{_GAP}\d){{6,}}+)"
_URL_OR_NUMBER: Final = re.compile("|".join((_ANY_URL, *_INNOCENT, _NUMBER)))
_INNOCENT_OR_NUMBER: Final = re.compile("|".join((*_INNOCENT, _NUMBER)))

_EMAIL_ADDRESS: Final = re.compile(rf"({_LOCAL}{{1,64}}){_AT}([\w.\-]{{1,253}})")
_PHONE_ADDRESS: Final = re.compile(rf"({_PLUS}?)[ ().{_DASHES}]*\d[\d ().{_DASHES}]*")


def scrub(text: str) -> str:
    """Return a sentence with “•••” for what looks like a phone number or an e-mail address.

    A phone number is seven digits or more, separated by nothing but single blanks, dots, dashes or
    brackets. Shorter numbers (error codes, years) stay, and so do dates and ids. A URL that holds
    either, escaped or not, is hidden as a whole. The result is one printable line of at most 500
    characters. Two error codes with only a blank between them count as a number.
    """
    line = one_line(text[:_WINDOW])
    hidden = _hide(line)
    if "%" in line:
        plain = one_line(unquote(line))
        if _hide(plain) != plain:
            hidden = _hide(plain)
    if len(text) > _WINDOW:
        hidden = hidden[: max(0, len(hidden) - _FRAYED)].rstrip() + "…"
    return hidden if len(hidden) <= _LONGEST else hidden[: _LONGEST - 1] + "…"


def has_contact(text: str) -> bool:
    """Return whether `scrub` would hide something in `text`, or change it otherwise."""
    return len(text) > _LONGEST or scrub(text) != text


def mask(address: str) -> str:
    """Return a part of an address that distinguishes it from others, and never all of it.

    `+14155551002` becomes `+1415•••1002`; at least half of a number of under eleven digits is
    hidden. `jane.doe@example.com` becomes `j•••@example.com`. Of anything else at most two
    characters at each end stay.
    """
    text = one_line(address[:_LONGEST_ADDRESS])
    if email := _EMAIL_ADDRESS.fullmatch(text):
        local, domain = email.groups()
        if not has_contact(domain):
            return f"{local[:1] if len(local) > 1 else ''}{HIDDEN}@{domain}"
    if phone := _PHONE_ADDRESS.fullmatch(text):
        return phone[1] + _mask_digits("".join(c for c in text if c.isdecimal()))
    kept = min(2, len(text) // 4)
    return text[:kept] + HIDDEN + text[len(text) - kept :]


def _mask_digits(digits: str) -> str:
    if len(digits) >= _USUAL_DIGITS:
        head, tail = 4, 4
    else:
        kept = len(digits) // 2
        tail = min(4, (kept + 1) // 2)
        head = kept - tail
    return digits[:head] + HIDDEN + digits[len(digits) - tail :]


def _hide(line: str) -> str:
    """Replace the matches; where two overlap, once for both."""
    pieces: list[str] = []
    done = 0
    for start, end in sorted(_spans(line)):
        if start >= done:
            pieces += (line[done:start], HIDDEN)
        done = max(done, end)
    return "".join((*pieces, line[done:]))


def _spans(line: str) -> Iterator[tuple[int, int]]:
    """Yield the spans to hide; each pattern searches the whole line."""
    yield from (found.span() for found in _URL.finditer(line) if not _is_clean_url(found[0]))
    yield from (found.span() for found in _EMAIL.finditer(line))
    yield from (found.span("number") for found in _URL_OR_NUMBER.finditer(line) if found["number"])


def _is_clean_url(url: str) -> bool:
    plain = one_line(unquote(url))
    return not _EMAIL.search(plain) and not any(
        found["number"] for found in _INNOCENT_OR_NUMBER.finditer(plain)
    )
