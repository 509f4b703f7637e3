"""The audit of `poller verify`: checks a file of events against what the poller promises."""
