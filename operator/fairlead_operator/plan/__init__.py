"""The decisions: pure functions from what is desired and what was observed to one next step."""
