"""The Python API: the poller embedded in a program, or a connection to a daemon.

`poller` exports the public names.
"""
