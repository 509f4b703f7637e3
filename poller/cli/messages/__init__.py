"""`poller show ID --messages` and `--failed`: what became of each message, read from the API."""
