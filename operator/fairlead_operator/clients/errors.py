"""What can go wrong outside, by what the caller has to do about it. Library errors never leave ``clients``."""

from __future__ import annotations


class FairleadError(Exception):
    """A request to another system failed.

    ``str()`` of it is for logs: it names the request.

    Attributes:
        cause: What went wrong, without the request: the part that messages for users show.
        retry_after_s: How long the other side asked to be left alone; None where it said nothing.
    """

    retry_after_s: float | None = None

    def __init__(self, message: str, *, cause: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.cause = message if cause is None else cause
        self.retry_after_s = retry_after_s


def cause_of(error: Exception) -> str:
    """What went wrong, for messages that users see."""
    return error.cause if isinstance(error, FairleadError) else str(error)


class Unreachable(FairleadError):
    """No answer, a cut answer or a 5xx: what was asked may or may not have happened."""


class AnswerTooLong(Unreachable):
    """More came than the caller takes; the rest was not read."""


class RetryLater(FairleadError):
    """The other side is well but busy (429), or something of ours has to come first."""


class Conflict(FairleadError):
    """The object changed since it was read: read again and decide again."""


class AlreadyExists(Conflict):
    """An object of this name is there."""


class NotFound(FairleadError):
    """The object, or the kind of object, is not there."""


class Expired(FairleadError):
    """What a list or a watch was to go on from is too old (410): begin again."""


class Refused(FairleadError):
    """The other side understood and said no (400, 422): the same request will be refused again."""


class Forbidden(FairleadError):
    """Not authenticated or not allowed (401, 403)."""


class NamespaceEnding(Forbidden):
    """The namespace is being deleted, or gone: nothing can be created in it."""
