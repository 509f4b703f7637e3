"""The control API: registration, state, the event stream, sinks and dead letters, health."""
