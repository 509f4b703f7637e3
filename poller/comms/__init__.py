"""The Communications API: what it answers, how it fails, how fast it may be asked."""
