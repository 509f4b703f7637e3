"""Watches long-running communications operations to their end and tells what changed."""

__version__ = "0.1.0"
