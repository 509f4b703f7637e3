"""Sinks: each delivers events to one destination."""
