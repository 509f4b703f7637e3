"""`poller watch`: the feeds of observations, and the views that show them."""
