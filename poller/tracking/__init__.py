"""Pure logic: from snapshots to changes, events and the next look. No I/O, no clock of its own."""
