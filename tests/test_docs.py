"""What the pages say is there, and what is there is said."""

import re
from pathlib import Path

from poller import __version__
from poller.cli.app import COMMANDS
from poller.settings import EVENT_TYPES
from poller.tracking.lifecycle import EventType

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


def test_every_command_is_on_the_newcomers_page() -> None:
    """A command that the page does not name is one that nobody finds."""
    assert [name for name in COMMANDS if f"poller {name}" not in README] == []


def test_every_event_is_on_the_page() -> None:
    """An application must know what it can get."""
    types = [type_.value for type_ in EventType]
    assert [type_ for type_ in types if f"`{type_}`" not in README] == []
    assert set(types) <= set(EVENT_TYPES)


PAGES = [*ROOT.glob("*.md"), *ROOT.glob("config/*.md"), *ROOT.glob("deploy/**/*.md")]


def headings(page: Path) -> set[str]:
    """Return the anchors of a page: its headings, without punctuation and with `-` for spaces."""
    titles = re.findall(r"(?m)^#+ (.*)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_links_lead_somewhere() -> None:
    """Each file, and each heading, that a page links to is there."""
    links = [
        (page, *target.partition("#")[::2])
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8"))
    ]
    assert len(links) > 30
    broken = []
    for page, name, anchor in links:
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in headings(target)):
            broken.append(f"{page.name}: {name}#{anchor}")
    assert broken == []


def test_the_changelog_knows_this_version() -> None:
    """What is installed is written about, or is about to be."""
    assert f"## [{__version__}]" in CHANGELOG or "## [Unreleased]" in CHANGELOG
