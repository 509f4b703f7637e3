"""The breakdown of an operation that has ended: its failures, read by page, counted by code."""
