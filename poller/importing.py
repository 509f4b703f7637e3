"""Lazy imports for packages: a public name is imported at its first use."""

from collections.abc import Callable, Mapping, MutableMapping
from importlib import import_module


def importer(
    package: str, places: Mapping[str, str], names: MutableMapping[str, object]
) -> Callable[[str], object]:
    """Return the `__getattr__` of a package; `places` maps its names to the modules that have them.

    `names` are the globals of the package, in which the imported objects are kept.
    """

    def get(name: str) -> object:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        names[name] = value = getattr(import_module(places[name]), name)
        return value

    return get
