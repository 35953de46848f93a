"""What can go wrong with an evaluation, for the person who called it."""

from __future__ import annotations


class EvaluationError(Exception):
    """One sentence that names the file, what is wrong and what would be right; printed without a traceback."""
