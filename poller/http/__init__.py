"""HTTP on the way out: which way a request takes, its connections, and what a failure means."""
