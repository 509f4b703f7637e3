"""What failed in an operation that has ended: read page by page, counted by error code."""
