"""The writes: each does one thing, idempotently, says what the server said, and decides nothing."""
