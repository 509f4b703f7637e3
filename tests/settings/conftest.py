"""One way to load settings in tests: every source explicit, nothing of the machine's own."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from poller.settings import Loaded, load_settings


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Loaded]:
    """Return a loader that takes the text of each source; the file is called `poller.toml`."""
    monkeypatch.chdir(tmp_path)

    def loader(
        toml: str | None = None,
        *,
        overrides: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
    ) -> Loaded:
        directory = Path("secrets")
        directory.mkdir(exist_ok=True)
        for name, content in (secrets or {}).items():
            (directory / name).write_text(content, encoding="utf-8")
        file = Path("poller.toml")
        if toml is not None:
            file.write_text(toml, encoding="utf-8")
        return load_settings(
            config=None if toml is None else file,
            overrides=overrides,
            environ={"POLLER_SECRETS_DIR": str(directory), **(env or {})},
        )

    return loader
