"""The loops that poll and deliver, and the daemon that starts and stops them."""
