"""How one event reaches one place."""
