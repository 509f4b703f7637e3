"""The audit of `poller verify`: checks files of events against the poller's promises."""
