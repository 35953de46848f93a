"""The process that reads one bucket: `python -m fairlead_runtime.model.fetching.store_child`, a job on its input."""

from __future__ import annotations

import dataclasses
import json
import pickle
import resource
import sys
import threading
from pathlib import Path

from fairlead_runtime.errors import LoadError, one_sentence
from fairlead_runtime.model import child_process
from fairlead_runtime.model.fetching import allowance, object_store
from fairlead_runtime.model.fetching.store_process import Job, Message

STACK_BYTES = 1024 * 1024
"""Of each thread; the usual 8 MiB count in full, whether they are used or not."""


def main() -> None:
    job: Job = pickle.load(sys.stdin.buffer)  # noqa: S301 - it comes from the process that started this one
    child_process.end_with_parent(job.parent)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.stack_size(STACK_BYTES)
    resource.setrlimit(resource.RLIMIT_DATA, (job.memory_bytes, job.memory_bytes))
    # A machine without memory ends this process before a replica that serves. A container without memory is ended as a
    # whole, which is what the limit is for.
    Path("/proc/self/oom_score_adj").write_text("1000")
    _send(_download(job))


def _download(job: Job) -> Message:
    try:
        with allowance.starting(job.bounds, left_s=job.left_s) as allowed:
            object_store.download(job.uri, job.into, allowed, job.access, expect=_expect, choose=job.choose)
    except LoadError as error:
        return Message(reason=error.reason.value, sentence=error.sentence)
    except OSError as error:
        if error.errno is None:
            raise
        return Message(errno=error.errno)
    except ValueError as error:
        return Message(invalid=one_sentence(str(error)))
    return Message()


def _expect(size_bytes: int) -> None:
    """Waits until the parent has made room."""
    _send(Message(expects=size_bytes))
    sys.stdin.buffer.readline()


def _send(message: Message) -> None:
    sys.stdout.write(json.dumps(dataclasses.asdict(message)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
