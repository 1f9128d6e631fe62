"""A parallel worker that is killed does not keep the others from answering."""

from __future__ import annotations

import multiprocessing
import os
import signal
from typing import Any

from tempo_runtime.runtime.parallel import release_left_lock

_CONTEXT = multiprocessing.get_context("spawn")  # MLServer starts its workers so


def _hold_and_die(responses: Any) -> None:
    responses._wlock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def test_another_worker_can_answer_if_one_was_killed_while_it_held_the_queue() -> None:
    responses: Any = _CONTEXT.Queue()
    killed = _CONTEXT.Process(target=_hold_and_die, args=(responses,))
    killed.start()
    killed.join()
    release_left_lock(responses)
    responses.put("an answer")
    assert responses.get(timeout=60) == "an answer"
    responses.close()
    responses.join_thread()


def test_the_queue_of_workers_that_live_stays_free() -> None:
    responses: Any = _CONTEXT.Queue()
    release_left_lock(responses)
    assert responses._wlock.acquire(timeout=0)
    assert not responses._wlock.acquire(timeout=0)
    responses._wlock.release()
    responses.close()
