"""What `poller verify` checks: a file of events against the promises."""
