"""What people see: pure functions from the pass to conditions, numbers and events."""
