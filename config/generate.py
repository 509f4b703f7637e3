# ruff: noqa: INP001 - a script beside its data, not a package
"""Write the files of this directory that are made from the code: `python config/generate.py`."""

import json
from pathlib import Path

from poller.settings.report import json_schema, table

__all__ = ["BEGIN", "END", "readme", "schema_text"]

HERE = Path(__file__).parent
BEGIN = "<!-- settings: written by generate.py -->"
END = "<!-- end of settings -->"


def schema_text() -> str:
    """Return what `settings.schema.json` holds."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def readme(old: str) -> str:
    """Return the README with the table between its marks made again."""
    before, _, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


def main() -> None:
    """Rewrite the schema and the README's table."""
    (HERE / "settings.schema.json").write_text(schema_text(), encoding="utf-8")
    page = HERE / "README.md"
    page.write_text(readme(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
