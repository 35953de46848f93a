"""The decisions: pure functions from what is wished and what was seen to one next step."""
