"""What can go wrong, as data: a stable reason, and one sentence that is safe to show to a client."""

from __future__ import annotations

import re
from enum import StrEnum
from urllib.parse import urlsplit

from typing_extensions import override

SENTENCE_CHARS_MAX = 400
_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://[^\s'\"<>]+", re.IGNORECASE)


class LoadReason(StrEnum):
    """Why a replica can't serve its model; the operator shows these in conditions, so they are never renamed."""

    CONFIG_INVALID = "ConfigInvalid"
    """The operator sent a configuration that this version of the runtime doesn't know."""
    MODEL_NOT_FOUND = "ModelNotFound"
    """Nothing is at the model's address."""
    MODEL_FORBIDDEN = "ModelForbidden"
    """The model's address refuses us, or is one that must not be asked."""
    FETCH_FAILED = "FetchFailed"
    """The model could not be read completely, after retries."""
    DISK_FULL = "DiskFull"
    """The node's disk has no room for the model, with all unused ones removed."""
    MODEL_TOO_LARGE = "ModelTooLarge"
    """The model exceeds a bound on its size or on the number of its files."""
    DIGEST_MISMATCH = "DigestMismatch"
    """The content is not the one that was pinned."""
    UNSAFE_MODEL = "UnsafeModel"
    """The model asks for something a model must not do."""
    MODEL_CORRUPT = "ModelCorrupt"
    """The content can't be read as a model."""
    MODEL_UNSUPPORTED = "ModelUnsupported"
    """The content is a model, but has a part that can't be served."""
    FORMAT_MISMATCH = "FormatMismatch"
    """The content is a model, but of another format than the one asked for."""
    SIGNATURE_NOT_FOUND = "SignatureNotFound"
    """The model has no signature of that name."""
    EXAMPLE_INVALID = "ExampleInvalid"
    """The example that a person gave does not fit the model's signature, or the model refuses it."""
    GUARD_UNUSABLE = "GuardUnusable"
    """A guard is asked for that the model, or the statistics beside it, give no means for."""
    CANNOT_CUT = "CannotCut"
    """The model can't be served in the number of stages that is asked for."""
    CUT_FAILED = "CutFailed"
    """Cutting the model into stages took too long or too much memory, or its parts can't be kept."""
    WARMUP_FAILED = "WarmupFailed"
    """The model was loaded, but doesn't answer."""
    NODE_MISCONFIGURED = "NodeMisconfigured"
    """The environment of the Ray node lacks a variable, or what one names can't be used."""
    CANNOT_LISTEN = "CannotListen"
    """An address that the Ray node's environment names can't be bound."""


class RequestReason(StrEnum):
    """Why a request gets no prediction; `protocols.status_codes` gives each its code."""

    MALFORMED = "Malformed"
    INVALID_INPUT = "InvalidInput"
    GUARDED = "Guarded"
    UNKNOWN_PATH = "UnknownPath"
    UNKNOWN_MODEL = "UnknownModel"
    WRONG_METHOD = "WrongMethod"
    UNKNOWN_METHOD = "UnknownMethod"
    UNKNOWN_ENCODING = "UnknownEncoding"
    REPLICA_GONE = "ReplicaGone"
    WRONG_REPLICA = "WrongReplica"
    TOO_LARGE = "TooLarge"
    HEADERS_TOO_LARGE = "HeadersTooLarge"
    URL_TOO_LONG = "UrlTooLong"
    SLOW_CLIENT = "SlowClient"
    EXPECTATION = "Expectation"
    QUEUE_FULL = "QueueFull"
    EXPLANATIONS_FULL = "ExplanationsFull"
    DEADLINE = "Deadline"
    NOT_READY = "NotReady"
    STAGE_GONE = "StageGone"
    DRAINING = "Draining"
    MODEL_FAILED = "ModelFailed"
    INTERNAL = "Internal"
    COPY_REFUSED = "CopyRefused"
    FEEDBACK_REFUSED = "FeedbackRefused"
    FEEDBACK_OFF = "FeedbackOff"


class LoadError(Exception):
    """A replica can't serve: `str()` starts with a line of its own, which the operator finds in Ray's message.

    Ray hands the operator nothing but the text of a traceback; the line is `fairlead: <Reason>: <sentence>`.
    """

    def __init__(self, reason: LoadReason, sentence: str) -> None:
        self.reason = reason
        self.sentence = one_sentence(sentence)
        super().__init__(reason, self.sentence)

    @override
    def __str__(self) -> str:
        return f"\nfairlead: {self.reason.value}: {self.sentence}"


class RequestError(Exception):
    """A request is refused; the sentence goes to the client."""

    def __init__(self, reason: RequestReason, sentence: str) -> None:
        self.reason = reason
        self.sentence = sentence[:SENTENCE_CHARS_MAX]
        super().__init__(reason, self.sentence)


class WrongMethodError(RequestError):
    """The path is served, for other methods."""

    def __init__(self, what: str, allowed: str) -> None:
        super().__init__(RequestReason.WRONG_METHOD, f"{what}: only {allowed} is allowed")
        self.allowed = allowed


def one_sentence(text: str, *, most: int = SENTENCE_CHARS_MAX) -> str:
    """One bounded, printable line without credentials: user info and query of every URL are cut out."""
    line = " ".join("".join(c if c.isprintable() else " " for c in _URL.sub(_bare_url, text)).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def bare_url(url: str) -> str:
    """The URL without user info, query and fragment."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the model's address"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{port}{parts.path}"


def _bare_url(match: re.Match[str]) -> str:
    return bare_url(match.group())
