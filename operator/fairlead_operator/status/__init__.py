"""What people are told: pure functions from the pass to conditions, numbers and events."""
