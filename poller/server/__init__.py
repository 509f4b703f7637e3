"""The control API: registration, what is known and waits, the event stream, health."""
