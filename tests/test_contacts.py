"""Phone numbers and e-mail addresses in a vendor's sentences, and alone."""

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from poller.contacts import HIDDEN, has_contact, mask, scrub
from poller.text import one_line
from tests.tracking.planted import ADDRESSES, EMAILS, NUMBERS, WRITTEN_NUMBERS

SURROUNDINGS = st.sampled_from(
    ["", " ", "to ", " is off.", "(", ")", "whatsapp:", "tel:", "'", "“", "”", ", ", "\n", "é "]
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The number +14155551002 is off.", "The number ••• is off."),
        ("call (415) 555-1002 now", "call ••• now"),
        ("+1 (415) 555 - 1002", "•••"),
        ("01 23 45 67 89", "•••"),
        ("415\u2011555\u20111002", "•••"),
        ("415\u00a0555\u200b1002", "•••"),
        ("1.415.555.1002", "•••"),
        ("٤١٥٥٥٥١٠٠٢", "•••"),
        ("abc14155551002def", "abc•••def"),
        ("to=%2B14155551002", "to=•••"),
        ("whatsapp:+14155551002", "whatsapp:•••"),
        ("write to jane.doe@example.com.", "write to •••."),
        ("mailto:jane@example.de?", "mailto:•••?"),
        ('"Jane Doe"@example.com', "•••"),
        ("jane@bücher.example", "•••"),
        ("14155551002@example.com", "•••"),
        ("+1 (415) 555-1002jane@example.com", "•••"),
        ("https://example.com/?to=%2B14155551002 said", "••• said"),
        ("https://jane:secret@example.com/a", "•••"),
        ("HTTPS://EXAMPLE.COM/1234567", "•••"),
    ],
)
def test_what_looks_like_an_address_is_hidden(text: str, expected: str) -> None:
    """However it is written, and with a URL that holds it."""
    assert scrub(text) == expected
    assert has_contact(text)


@pytest.mark.parametrize(
    "text",
    [
        "Error 30003 in 2024",
        "30003, 30004; 63016/20429. 15 messages of 100",
        "https://www.twilio.com/docs/api/errors/61337",
        "https://medium.com/@user/123456",
        "https://console.twilio.com/us1/AC77ec7f777777f7a77ce7777aeef7777f/SMbffad777cc7777777777",
        "/SMbffad777cc7777777777777dfcdc7f77",
        "message comms_message_00000000000000000000000001 failed",
        "of comms_operation_01h9krwprkeee8fzqspvwy6nq8",
        "ids 550e8400-e29b-41d4-a716-446655440000",
        "at 2024-04-05T06:20:00.123456Z, on 2024-04-05",
        "@handle, 100 % of 999999",
        "",
    ],
)
def test_what_is_no_address_stays(text: str) -> None:
    """Error codes, years, dates, the vendor's ids, numbers of up to six digits."""
    assert scrub(text) == text
    assert not has_contact(text)


@given(before=SURROUNDINGS, address=ADDRESSES, after=SURROUNDINGS)
def test_no_address_is_left(before: str, address: str, after: str) -> None:
    """Nor four digits in a row of a number, nor the name in an e-mail address."""
    found = scrub(before + address + after)
    assert HIDDEN in found
    assert address not in found
    assert sum(c.isdigit() for c in found) == 0 if "@" not in address else "jane" not in found


@given(text=st.text(max_size=5000))
def test_scrubbed_text_is_one_bounded_line(text: str) -> None:
    """And nothing is found in it again."""
    found = scrub(text)
    assert len(found) <= 500
    assert found.isprintable()
    assert scrub(found) == found


@given(padding=st.integers(0, 600), address=ADDRESSES, repeat=st.integers(1, 400))
def test_no_cut_lays_an_address_open(padding: int, address: str, repeat: int) -> None:
    """Neither that of a long text before it is looked at, nor that of the result."""
    found = scrub("x" * padding + " " + f"{address} and " * repeat)
    assert not any(c.isdigit() for c in found)
    assert "jane" not in found


@pytest.mark.parametrize(
    "piece",
    [
        *("a", "1", "1 ", "1-", "1(", "( )", "+", "@", "a@", "a.b-", '"a', "http://", "https://a@"),
        *("comms_a_0", "%41", "%", "2024-01-01", "A1b2c3", "a1", "1.", "\u2011", " ", "-@"),
    ],
)
def test_time_grows_with_the_text_at_most(piece: str) -> None:
    """No text makes the patterns try again and again."""
    from poller import contacts  # noqa: PLC0415 - the inner function alone is unbounded

    text = piece * (100_000 // len(piece))
    begun = time.process_time()
    contacts._hide(text)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("+14155551002", "+1415•••1002"),
        ("+1 (415) 555-1002", "+1415•••1002"),
        ("4155551002", "41•••002"),
        ("1234567", "1•••67"),
        ("12345", "1•••5"),
        ("1", "•••"),
        ("jane.doe@example.com", "j•••@example.com"),
        ("j@example.com", "•••@example.com"),
        ("x@14155551002", "x@•••02"),
        ("bowlingteam_212_sender", "bo•••er"),
        ("whatsapp:+14155551002", "wh•••02"),
        ("ab", "•••"),
        ("", "•••"),
    ],
)
def test_mask_keeps_the_ends(address: str, expected: str) -> None:
    """Enough to distinguish it from others."""
    assert mask(address) == expected


@given(address=st.one_of(NUMBERS, WRITTEN_NUMBERS, EMAILS, st.text()))
def test_mask_never_shows_all(address: str) -> None:
    """Whatever the address is."""
    assume(HIDDEN[0] not in address)
    masked = mask(address)
    assert HIDDEN in masked
    assert masked.isprintable()
    whole = one_line(address)
    assert not whole or whole not in masked


@given(digits=st.from_regex(r"[0-9]{1,15}", fullmatch=True))
def test_at_least_half_of_a_short_number_is_hidden(digits: str) -> None:
    """And three digits of any."""
    shown = len(mask(digits)) - len(HIDDEN)
    assert shown <= (8 if len(digits) >= 11 else len(digits) // 2)
