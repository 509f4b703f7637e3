"""The probes of `poller check`: each one checks one thing and returns its findings."""
