"""Which errors of the operating system may end by themselves, and which need a change."""

import errno
from typing import Final

# wrong paths and permissions; not a full disk, a busy port or a lack of descriptors
_NEED_CHANGE: Final = frozenset(
    {
        errno.EACCES,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)


def needs_change(error: OSError) -> bool:
    """Whether the same call fails until a setting, a path or a permission is changed."""
    return error.errno in _NEED_CHANGE
