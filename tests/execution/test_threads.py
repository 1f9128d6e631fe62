"""A pool of threads of which some hang."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tempo_runtime.execution.threads import Closed, Threads
from tempo_runtime.request.timing import Elapsed

pytestmark = pytest.mark.traced


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


async def hang(threads: Threads, gate: threading.Event, times: int) -> None:
    """Have so many threads hang."""
    for _ in range(times):
        before = threads.hung
        while threads.hung == before:  # on a busy machine the call may have ended before it began
            with pytest.raises(Elapsed):
                await threads.run(0.01, gate.wait)


async def until(condition: threading.Event) -> None:
    while not condition.is_set():  # noqa: ASYNC110 - a thread sets it
        await asyncio.sleep(0.005)


async def test_a_result_and_an_error_reach_the_caller() -> None:
    threads = Threads("t", 2, 2)
    assert await threads.run(None, int, "7") == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await threads.run(60, int, "seven")
    assert threads.submit(int, "8").result(60) == 8
    threads.close()


async def test_threads_that_hang_are_counted_and_replaced(gate: threading.Event) -> None:
    threads = Threads("t", 2, 2)
    await hang(threads, gate, 2)
    assert (threads.hung, threads.left) == (2, 2)
    assert await threads.run(60, int, "7") == 7
    threads.close()


async def test_no_more_threads_are_started_than_may_be_spared(gate: threading.Event) -> None:
    threads = Threads("t", 2, 1)
    await hang(threads, gate, 2)
    await hang(threads, gate, 1)
    assert (threads.hung, threads.left) == (3, 0)
    # A task that waits for a thread does not hang, and runs once a thread is back.
    with pytest.raises(Elapsed):
        await threads.run(0.01, int, "7")
    assert threads.hung == 3
    later = asyncio.ensure_future(threads.run(60, int, "8"))
    gate.set()
    assert await later == 8
    threads.close()


async def test_threads_that_come_back_are_no_longer_counted(gate: threading.Event) -> None:
    back = threading.Event()
    threads: Threads

    def changed() -> None:
        if threads.hung == 0:
            back.set()

    threads = Threads("t", 2, 2, changed)
    await hang(threads, gate, 2)
    assert not back.is_set()
    gate.set()
    await until(back)
    assert (threads.hung, threads.left) == (0, 2)
    assert await threads.run(60, int, "7") == 7
    threads.close()


async def test_a_cancelled_call_counts_as_hung_until_its_function_returns(
    gate: threading.Event,
) -> None:
    begun = threading.Event()

    def work() -> None:
        begun.set()
        gate.wait()

    threads = Threads("t", 1, 1)
    call = asyncio.ensure_future(threads.run(None, work))
    await until(begun)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert threads.hung == 1
    threads.close()


async def test_the_place_of_a_hung_function_is_its_authors_line(gate: threading.Event) -> None:
    def theirs() -> None:
        gate.wait()

    threads = Threads("t", 1, 1)
    while not threads.hung:
        with pytest.raises(Elapsed):
            await threads.run(0.01, theirs)
    assert threads.place().startswith(f"{__file__}:")
    threads.close()


async def test_many_calls_share_few_threads() -> None:
    threads = Threads("t", 3, 0)
    names = await asyncio.gather(
        *(threads.run(60, lambda: threading.current_thread().name) for _ in range(200))
    )
    assert len(set(names)) <= 3
    threads.close()


async def test_where_no_thread_can_be_started_calls_wait_for_those_that_there_are(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = threading.Event()

    def refuse(thread: threading.Thread) -> None:
        refused.set()
        raise RuntimeError("can't start new thread")

    threads = Threads("t", 4, 4)
    begun = threading.Event()

    def work() -> bool:
        begun.set()
        return gate.wait()

    first = asyncio.ensure_future(threads.run(60, work))
    await until(begun)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        others = [asyncio.ensure_future(threads.run(60, int, text)) for text in "123"]
        await until(refused)
        gate.set()
        assert await asyncio.gather(first, *others) == [True, 1, 2, 3]
    assert await asyncio.gather(*(threads.run(60, int, text) for text in "45")) == [4, 5]
    threads.close()


async def test_if_not_even_one_thread_can_be_started_only_that_call_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads = Threads("t", 1, 0)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            await threads.run(60, int, "1")
    assert await threads.run(60, int, "2") == 2
    threads.close()


async def test_functions_that_return_at_once_share_a_thread() -> None:
    threads = Threads("t", 8, 0)
    names = await asyncio.gather(
        *(threads.run(5, lambda: threading.current_thread().name) for _ in range(20))
    )
    assert len(set(names)) < 8
    threads.close()


async def test_functions_that_wait_for_each_other_run_at_the_same_time() -> None:
    threads = Threads("t", 8, 0)
    barrier = threading.Barrier(8)
    await asyncio.gather(*(threads.run(30, barrier.wait, 30) for _ in range(8)))
    threads.close()


async def test_a_function_that_was_given_up_before_it_began_never_runs(
    gate: threading.Event,
) -> None:
    threads, ran = Threads("t", 1, 0), threading.Event()
    first = asyncio.ensure_future(threads.run(None, gate.wait))
    await asyncio.sleep(0)
    with pytest.raises(Elapsed):
        await threads.run(0.01, ran.set)
    gate.set()
    await first
    assert await threads.run(5, int, "7") == 7
    assert not ran.is_set()
    threads.close()


async def test_closing_refuses_what_has_not_begun_and_lets_the_rest_end(
    gate: threading.Event,
) -> None:
    threads, begun = Threads("t", 1, 0), threading.Event()

    def work() -> int:
        begun.set()
        gate.wait()
        return 7

    first, second = (asyncio.ensure_future(threads.run(None, each)) for each in (work, int))
    await until(begun)
    threads.close()
    with pytest.raises(Closed):
        await second
    with pytest.raises(Closed):
        await threads.run(None, int)
    gate.set()
    assert await first == 7


def test_a_pool_serves_one_loop_after_another() -> None:
    threads = Threads("t", 2, 0)

    async def both() -> list[int]:
        barrier = threading.Barrier(2)
        return await asyncio.gather(*(threads.run(30, barrier.wait, 30) for _ in range(2)))

    assert [sorted(asyncio.run(both())) for _ in range(3)] == [[0, 1]] * 3
    threads.close()


async def test_an_error_that_futures_refuse_reaches_the_caller() -> None:
    threads = Threads("t", 1, 0)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await threads.run(5, next, iter(()))
    threads.close()


def test_a_process_ends_while_a_thread_hangs() -> None:
    code = (
        "import threading; from tempo_runtime.execution.threads import Threads; "
        "Threads('t', 1, 1).submit(threading.Event().wait)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
