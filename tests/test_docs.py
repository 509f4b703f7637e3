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


def test_links_lead_somewhere() -> None:
    """Each file that the page links to is there."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_changelog_knows_this_version() -> None:
    """What is installed is written about, or is about to be."""
    assert f"## [{__version__}]" in CHANGELOG or "## [Unreleased]" in CHANGELOG
