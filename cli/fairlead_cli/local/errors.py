"""What can go wrong with a local cluster, said for the person who called it."""

from __future__ import annotations


class LocalClusterError(Exception):
    """Something that the person can read and act on; the command prints it without a traceback."""


class NotThere(LocalClusterError):
    """A source does not have what was asked, or can't be reached: the next source is tried."""
