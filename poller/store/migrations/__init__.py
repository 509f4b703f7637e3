"""The schema's history. `HEAD` is the newest revision; a test keeps it true.

A constant, so that a start on a current store need not import Alembic (half a second).
"""

from typing import Final

__all__ = ["HEAD"]

HEAD: Final = "0003"
