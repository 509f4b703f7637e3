"""Packages that offer names, and import them when they are used."""

from collections.abc import Callable, Mapping, MutableMapping
from importlib import import_module


def importer(
    package: str, places: Mapping[str, str], names: MutableMapping[str, object]
) -> Callable[[str], object]:
    """Return the `__getattr__` of a package; `places` are the modules that have its names.

    `names` are the globals of the package, which keep what was imported.
    """

    def get(name: str) -> object:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        names[name] = value = getattr(import_module(places[name]), name)
        return value

    return get
