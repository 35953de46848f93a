"""What can go wrong while settings are measured, for the person who called it."""

from __future__ import annotations


class TuningError(Exception):
    """One sentence that says what is wrong and what would be right; printed without a traceback."""
