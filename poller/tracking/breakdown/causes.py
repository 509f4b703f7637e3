"""Why messages of an operation failed: counts by error code, each with a few sample messages.

Pure, and bounded: a hostile API cannot make it grow. Everything in it may be emitted.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from poller.tracking.privacy import Addresses, public_code, public_error, shown_addresses

SAMPLES: Final = 5
"""The most messages that are named for one code."""

ITEM_ID: Final = re.compile(r"comms_(?!operation_)[a-z]{2,40}_[0-7][a-hjkmnpqrstv-z0-9]{25,34}")
"""The id of a message of any kind: the vendor documents that of `messages` only."""

_MOST_CODES: Final = 200
_MOST_SHOWN: Final = 3
_REST: Final = "other codes"
# Bytes for the texts of all codes together, and for their samples: the first sample of each code
# may use all of the space, the others half of it, so that some 50 codes have all their samples.
_ROOM_FOR_TEXTS: Final = 20_000
_ROOM_FOR_SAMPLES: Final = 32_000

Code = int | str | None
_Key = tuple[Code, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A message that failed with a code; `to` holds its addresses in the form that may be shown."""

    id: str
    to: tuple[str, ...] = ()

    @classmethod
    def of(cls, item_id: str, raw: Mapping[str, Any], addresses: Addresses) -> "Sample":
        """Make the sample of a message document."""
        return cls(id=item_id, to=tuple(shown_addresses(raw, addresses)[:_MOST_SHOWN]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One code. `is_rest` marks the entry for all codes after the first 200."""

    code: Code
    count: int = 0
    message: str | None = None
    info_url: str | None = None
    samples: tuple[Sample, ...] = ()
    is_rest: bool = False

    @property
    def is_without_sample(self) -> bool:
        """True where reading a message could add one."""
        return not self.samples and not self.is_rest

    def report(self) -> dict[str, Any]:
        """Return it as the event shows it."""
        return {
            "code": self.code,
            "count": self.count,
            "message": self.message,
            "infoUrl": self.info_url,
            "samples": [
                {"id": sample.id, **({"to": list(sample.to)} if sample.to else {})}
                for sample in self.samples
            ],
        }

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> "Cause":
        """Read what `report` returned."""
        return cls(
            code=report["code"],
            count=report["count"],
            message=report["message"],
            info_url=report["infoUrl"],
            samples=tuple(
                Sample(id=sample["id"], to=tuple(sample.get("to", ())))
                for sample in report["samples"]
            ),
            is_rest=report["code"] is None and report["message"] == _REST,
        )

    def rank(self) -> tuple[Any, ...]:
        """Order causes: the most frequent first, then by code, numbers before words."""
        code = self.code
        return (-self.count, self.is_rest, code is None, isinstance(code, str), str(code).zfill(9))


class CauseTally:
    """Counts causes; make one for a step, and read its `causes` afterwards."""

    def __init__(self, causes: Sequence[Cause]) -> None:
        self._causes: dict[_Key, Cause] = {(cause.code, cause.is_rest): cause for cause in causes}
        self._texts = sum(_size(*_texts_of(cause)) for cause in self._causes.values())
        self._samples = sum(
            _size(sample.id, *sample.to) for cause in causes for sample in cause.samples
        )
        self._holders: dict[str, list[_Key]] = {}
        for key, cause in self._causes.items():
            for sample in cause.samples:
                self._holders.setdefault(sample.id, []).append(key)

    @property
    def causes(self) -> tuple[Cause, ...]:
        """All of them, in the order in which they came."""
        return tuple(self._causes.values())

    def count(self, error: Mapping[str, Any], item_id: str | None) -> None:
        """Count one error, of the message `item_id` where that is known."""
        key = self._key(public_code(error.get("code")))
        cause = self._causes.get(key) or self._begin(key)
        if cause.message is None and not cause.is_rest:
            shown = public_error(error) or {}
            cause = self._describe(
                cause, message=shown.get("message"), info_url=shown.get("infoUrl")
            )
        self._causes[key] = replace(cause, count=cause.count + 1)
        if item_id is not None and not cause.is_rest:
            self._take(key, Sample(id=item_id))

    def add(self, cause: Cause) -> None:
        """Add a cause that another breakdown has counted."""
        key = (None, True) if cause.is_rest else self._key(cause.code)
        own = self._causes.get(key) or self._begin(key)
        if own.message is None and not own.is_rest:
            own = self._describe(own, message=cause.message, info_url=cause.info_url)
        self._causes[key] = replace(own, count=own.count + cause.count)
        for sample in () if own.is_rest else cause.samples:
            self._take(key, sample)

    def add_addresses(self, item_id: str, raw: Mapping[str, Any], addresses: Addresses) -> bool:
        """Add the addresses of this message to its samples; False where it is not a sample."""
        holders = self._holders.get(item_id, ())
        if holders and addresses is not Addresses.HIDDEN:
            sample = Sample.of(item_id, raw, addresses)
            for key in holders:
                self._address(key, sample)
        return bool(holders)

    def add_sample(self, error: Mapping[str, Any], sample: Sample) -> None:
        """Add a fetched message as a sample of its error code, where that code was counted."""
        key = (public_code(error.get("code")), False)
        if key in self._causes:
            self._take(key, sample)

    def _key(self, code: Code) -> _Key:
        is_known = (code, False) in self._causes
        return (code, False) if is_known or len(self._causes) < _MOST_CODES else (None, True)

    def _begin(self, key: _Key) -> Cause:
        code, is_rest = key
        return Cause(code=code, is_rest=is_rest, message=_REST if is_rest else None)

    def _describe(self, cause: Cause, *, message: str | None, info_url: str | None) -> Cause:
        described = replace(
            cause, message=cause.message or message, info_url=cause.info_url or info_url
        )
        more = _size(*_texts_of(described)) - _size(*_texts_of(cause))
        if self._texts + more > _ROOM_FOR_TEXTS:
            return cause
        self._texts += more
        return described

    def _take(self, key: _Key, sample: Sample) -> None:
        cause = self._causes[key]
        if len(cause.samples) >= SAMPLES or any(one.id == sample.id for one in cause.samples):
            return
        room = _ROOM_FOR_SAMPLES // 2 if cause.samples else _ROOM_FOR_SAMPLES
        if self._takes_up(room, sample.id, *sample.to):
            self._causes[key] = replace(cause, samples=(*cause.samples, sample))
            self._holders.setdefault(sample.id, []).append(key)

    def _address(self, key: _Key, sample: Sample) -> None:
        cause = self._causes[key]
        known = next(one for one in cause.samples if one.id == sample.id)
        if not known.to and self._takes_up(_ROOM_FOR_SAMPLES, *sample.to):
            samples = tuple(sample if one is known else one for one in cause.samples)
            self._causes[key] = replace(cause, samples=samples)

    def _takes_up(self, room: int, *texts: str) -> bool:
        """Reserve space for these texts of samples; False where `room` is too small for them."""
        size = _size(*texts)
        if self._samples + size > room:
            return False
        self._samples += size
        return True


def causes_to_json(causes: Iterable[Cause]) -> list[Any]:
    """Return what `causes_from` reads."""
    return [
        [
            cause.code,
            cause.count,
            cause.message,
            cause.info_url,
            [[sample.id, *sample.to] for sample in cause.samples],
            cause.is_rest,
        ]
        for cause in causes
    ]


def causes_from(rows: object) -> tuple[Cause, ...]:
    """Read what `causes_to_json` wrote.

    :raises ValueError: where it is something else; a TypeError says the same.
    """
    if not isinstance(rows, list) or len(rows) > _MOST_CODES + 1:
        raise ValueError("no list of causes")
    return tuple(_cause_from(row) for row in rows)


def _cause_from(row: Any) -> Cause:  # noqa: ANN401 - JSON that is being checked
    code, count, message, info_url, samples, is_rest = row
    is_right = (
        (code is None or (type(code) in {int, str} and public_code(code) == code))
        and (type(count) is int and count > 0)
        and all(text is None or isinstance(text, str) for text in (message, info_url))
        and (isinstance(samples, list) and len(samples) <= SAMPLES)
        and isinstance(is_rest, bool)
    )
    if not is_right:
        raise ValueError("no cause")
    return Cause(
        code=code,
        count=count,
        message=message,
        info_url=info_url,
        samples=tuple(_sample_from(sample) for sample in samples),
        is_rest=is_rest,
    )


def _sample_from(row: Any) -> Sample:  # noqa: ANN401 - JSON that is being checked
    item_id, *to = row
    if not isinstance(row, list) or not all(isinstance(text, str) for text in row):
        raise ValueError("no sample")
    if not ITEM_ID.fullmatch(item_id):
        raise ValueError("no id of a sample")
    return Sample(id=item_id, to=tuple(to))


def _texts_of(cause: Cause) -> list[str]:
    return [text for text in (cause.message, cause.info_url) if text is not None]


def _size(*texts: str) -> int:
    """Return the bytes that texts take in the stored state, punctuation included."""
    return sum(len(json.dumps(text, ensure_ascii=False).encode()) + 3 for text in texts)
