"""TLS for clients that never use it."""

import ssl
from typing import Final

NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""The `verify` of a client that speaks plain HTTP; by default each reads every root certificate."""
