"""A client of a daemon's control API: where it is, what it answers, what it streams."""
