"""A client of a daemon's control API: addresses, requests, the event stream, errors."""
