"""Pure logic: from snapshots to changes, events and the next poll. No I/O, no clock of its own."""
