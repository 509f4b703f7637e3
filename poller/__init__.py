"""Watches long-running communications operations to their end and reports what changed."""

__version__ = "0.1.0"
