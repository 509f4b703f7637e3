"""`poller show ID --messages` and `--failed`: the result of each message, read from the API."""
