"""The shapes of answers in which the vendor's documents disagree, by name.

A shape changes how things are shown and named. What becomes of a send stays the same, but that
`ends-at-sent` has no delivery receipts at all.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from starlette.datastructures import URL

from poller.simulator.kinds import KINDS, SimulatedKind
from poller.simulator.paths import Path

__all__ = ["SHAPES", "check_shapes", "kinds_shaped", "paged"]

SHAPES: Final[Mapping[str, str]] = {
    "cumulative": "a message counts under every state that it has been in",
    "ends-at-sent": "push notifications have no receipts, nor counters for them",
    "guide-lists": "emails under data, with one object in to; push under notifications",
    "page-urls": "pagination.next and self are URLs",
    "page-tokens": "pagination.nextPageToken in place of next",
    "meta-urls": "meta.next_page_url in place of pagination",
}
_PAGING: Final = ("page-urls", "page-tokens", "meta-urls")
_UNRECEIPTED: Final = frozenset(("SENT", "FAILED", "UNADDRESSABLE"))
_RECEIPTS: Final = frozenset(("delivered", "read", "undelivered", "attempts"))


def check_shapes(shapes: tuple[str, ...]) -> None:
    """Check the names of shapes.

    :raises ValueError: for an unknown one, or two that contradict each other.
    """
    for name in shapes:
        if name not in SHAPES:
            raise ValueError(f"unknown shape {name!r}; one of: {', '.join(SHAPES)}")
    if len(chosen := [name for name in _PAGING if name in shapes]) > 1:
        raise ValueError(f"unknown shape “{' and '.join(chosen)}”; a list is paged in one way")


@lru_cache
def kinds_shaped(shapes: tuple[str, ...]) -> Mapping[str, SimulatedKind]:
    """Return the table of kinds as these shapes change it."""
    return {name: _shaped(kind, shapes) for name, kind in KINDS.items()}


def paged(page: Mapping[str, Any], url: URL, shapes: tuple[str, ...]) -> dict[str, Any]:
    """Return a page of a list, asked for at `url`, with its pagination in these shapes."""
    rest = {name: value for name, value in page.items() if name != "pagination"}
    tokens: Mapping[str, str | None] = page["pagination"]
    urls = {
        name: None if token is None else str(url.include_query_params(pageToken=token))
        for name, token in tokens.items()
    }
    if "page-urls" in shapes:
        return {**rest, "pagination": urls}
    if "page-tokens" in shapes:
        return {
            **rest,
            "pagination": {"nextPageToken": tokens["next"], "self": tokens["self"]},
        }
    if "meta-urls" in shapes:
        return {**rest, "meta": {"next_page_url": urls["next"]}}
    return dict(page)


def _shaped(kind: SimulatedKind, shapes: tuple[str, ...]) -> SimulatedKind:
    if "cumulative" in shapes:
        kind = replace(kind, cumulative=True)
    if "ends-at-sent" in shapes and kind.name == "push-notifications":
        kind = replace(
            kind,
            counters=tuple(name for name in kind.counters if name not in _RECEIPTS),
            outcomes={
                name: tuple(_unreceipted(path) for path in paths)
                for name, paths in kind.outcomes.items()
            },
        )
    if "guide-lists" in shapes and kind.name == "emails":
        kind = replace(kind, items="data", lists_one_recipient=True)
    if "guide-lists" in shapes and kind.name == "push-notifications":
        kind = replace(kind, items="notifications", item_prefix="comms_notification_")
    return kind


def _unreceipted(path: Path) -> Path:
    """Return the path up to its last hop that needs no receipt."""
    hops = tuple(hop for hop in path.hops if hop.status in _UNRECEIPTED)
    if hops == path.hops:
        return path
    attempts = tuple(replace(attempt, error=None) for attempt in path.attempts)
    return replace(path, hops=hops, attempts=attempts, error=None)
