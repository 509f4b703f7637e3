"""The revisions of the schema. `HEAD` is the newest, `FIRST` the oldest that can be migrated.

Constants, so that a start on a current store need not import Alembic (half a second); a test holds
them to the revisions. The names of revisions sort in their order.
"""

from typing import Final

FIRST: Final = "0100_first"
HEAD: Final = "0105_trace"
