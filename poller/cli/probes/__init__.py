"""What `poller check` looks at: each probe looks at one thing and tells what it found."""
