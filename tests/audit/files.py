"""Files of events for the audit: how they are changed, and held against the promises."""

from collections.abc import Callable
from typing import Any

Document = dict[str, Any]
Change = Callable[[list[Document]], object]


def set_to(path: str, value: object) -> Callable[[Document], None]:
    """Return what sets the place at a dotted path of a document."""
    *way, name = path.split(".")

    def change(document: Document) -> None:
        place = document
        for step in way:
            place = place[step]
        place[name] = value

    return change
