"""`poller watch`: where observations come from, and the views that show them."""
