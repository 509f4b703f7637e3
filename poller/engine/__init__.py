"""The two loops that meet in the store, and what starts and stops them."""
