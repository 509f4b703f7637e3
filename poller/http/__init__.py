"""Outgoing HTTP: proxies and routes, connections, and what a failure means."""
