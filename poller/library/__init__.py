"""The Python API: the poller inside a program, or beside it. `poller` exports what is for users."""
