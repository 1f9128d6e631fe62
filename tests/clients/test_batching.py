"""Calls of different requests to a child that are put together."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from tempo_runtime import Batching
from tempo_runtime.clients import batching
from tempo_runtime.clients.batching import BatchingTransport
from tempo_runtime.clients.failures import ChildAddress
from tempo_runtime.errors import (
    ChildFailed,
    ChildUnavailable,
    DeadlineExceeded,
    PayloadError,
    PipelineFailed,
)
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.protocol.rows import Rows
from tempo_runtime.protocol.signature import Signature
from tempo_runtime.protocol.tensor import Tensor
from tempo_runtime.request import context
from tempo_runtime.request.budget import RequestBudget
from tempo_runtime.request.metrics import BatchMetrics
from tempo_runtime.request.portal import background
from tests.helpers.waiting import wait_until

_WAIT = 20.0  # seconds, for conditions that hold at once
_numbers = count()


def doubled(request: Request) -> Response:
    """Answer as a model does that doubles each row, and that cannot take rows with 13."""
    [tensor] = request.tensors
    if 13 in tensor.data:
        raise PayloadError("13 is not allowed")
    return Response([Tensor("y", tensor.datatype, tensor.shape, 2 * tensor.data)])


class Gate:
    """A gate that threads, and coroutines of any loop, can wait at."""

    def __init__(self) -> None:
        self._opened = threading.Event()
        self._waiting: list[Future[None]] = []

    def open(self) -> None:
        self._opened.set()
        for future in self._waiting:
            future.set_result(None) if not future.done() else None
        self._waiting.clear()

    def close(self) -> None:
        self._opened.clear()

    def wait_blocking(self) -> None:
        self._opened.wait(_WAIT)

    async def wait(self) -> None:
        future: Future[None] = Future()
        self._waiting.append(future)
        if self._opened.is_set():
            return
        await asyncio.wrap_future(future)


@dataclass
class Child:
    """A transport whose calls wait at a gate, and that records them."""

    answer: Callable[[Request], Response] = doubled
    tagged: bool = False
    gate: Gate = field(default_factory=Gate)
    calls: list[tuple[Request, context.RequestContext]] = field(default_factory=list)
    running: int = 0
    cancelled: int = 0
    closed: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    async def infer(self, request: Request) -> Response:
        self._begin(request)
        try:
            await self.gate.wait()
            return self.answer(request)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self._end()

    def infer_blocking(self, request: Request) -> Response:
        self._begin(request)
        try:
            self.gate.wait_blocking()
            return self.answer(request)
        finally:
            self._end()

    async def close(self) -> None:
        self.closed = True

    @property
    def sizes(self) -> list[int]:
        """The rows of each call so far."""
        return [request.tensors[0].shape[0] for request, _ in self.calls]

    def wait_for_calls(self, number: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.calls) >= number, _WAIT), self.calls

    def _begin(self, request: Request) -> None:
        with self.changed:
            self.calls.append((request, context.current()))
            self.running += 1
            self.changed.notify_all()

    def _end(self) -> None:
        with self.changed:
            self.running -= 1
            self.changed.notify_all()


@dataclass
class Setup:
    child: Child
    transport: BatchingTransport
    pool: ThreadPoolExecutor
    alias: str

    def ask(self, *rows: float, **changes: Any) -> Future[Any]:
        """Call the child from a thread, in a new request, and return the numbers of its answer."""
        return self.pool.submit(self._ask, np.array(rows), **changes)

    def _ask(
        self,
        data: np.ndarray,
        timeout: float | None = _WAIT,
        headers: dict[str, str] | None = None,
        seed: int | None = None,
        limits: RequestBudget | None = None,
        **changes: Any,
    ) -> Any:
        request = plain(data, **changes)
        with context.serving(timeout, headers or {}, seed, limits=limits):
            return self.transport.infer_blocking(request).tensors[0].data.tolist()

    def wait_for(self, waiting: int) -> None:
        """Wait until this number of calls waits."""
        wait_until(lambda: self.waiting == waiting)

    @property
    def waiting(self) -> int:
        return sum(len(queue._waiting) for queue in list(self.transport._queues.values()))

    def sample(self, name: str) -> float:
        labels = {"pipeline": "batching", "child": self.alias}
        return REGISTRY.get_sample_value(f"tempo_child_batch_{name}", labels) or 0.0


Make = Callable[..., Setup]


def plain(data: np.ndarray, **changes: Any) -> Request:
    tensor = Tensor("x", "FP64", list(data.shape), data, {"content_type": "np"})
    return Request([tensor], **changes)


@pytest.fixture
def make() -> Iterator[Make]:
    with ThreadPoolExecutor(40) as pool:
        made = []

        def setup(child: Child | None = None, **options: Any) -> Setup:
            child = child or Child()
            alias = f"child-{next(_numbers)}"
            names = ("max_rows", "max_delay")
            limits = {name: options.pop(name) for name in names if name in options}
            transport = BatchingTransport(
                child,
                background(),
                Batching(**limits),
                ChildAddress("double", "http://double"),
                BatchMetrics("batching", alias),
                **options,
            )
            made.append(child)
            return Setup(child, transport, pool, alias)

        yield setup
        for child in made:
            child.gate.open()


@contextmanager
def busy(
    setup: Setup, waiting: list[Future[Any]], *calls: tuple[float, ...], **changes: Any
) -> Iterator[None]:
    """Keep the child at work on a call, while these wait; then let everything go on."""
    first = setup.ask(0.0, **changes)
    setup.child.wait_for_calls(1)
    for rows in calls:
        waiting.append(setup.ask(*rows))
        setup.wait_for(len(waiting))
    yield
    setup.child.gate.open()
    assert first.result(_WAIT) == [0.0]


def test_calls_that_come_while_one_is_under_way_go_together(make: Make) -> None:
    setup, waiting = make(), []
    with busy(setup, waiting, (1.0,), (2.0, 3.0), (4.0,)):
        pass
    assert [answer.result(_WAIT) for answer in waiting] == [[2.0], [4.0, 6.0], [8.0]]
    assert setup.child.sizes == [1, 4]


def test_an_idle_child_is_called_at_once_in_the_callers_own_thread_and_context(make: Make) -> None:
    setup = make()
    setup.child.gate.open()
    request = plain(np.array([1.0]), id="7", outputs=["y"], parameters={"k": 1})
    with context.serving(_WAIT, {"traceparent": "t"}, id="7") as current:
        setup.transport.infer_blocking(request)
    [(sent, seen)] = setup.child.calls
    assert sent is request
    assert seen is current


def test_a_call_that_waits_alone_is_the_plain_call(make: Make) -> None:
    setup, waiting = make(), []
    with busy(setup, waiting):
        waiting.append(setup.ask(1.0, headers={"traceparent": "t"}, id="7"))
        setup.wait_for(1)
    assert waiting[0].result(_WAIT) == [2.0]
    sent, seen = setup.child.calls[1]
    assert (sent.id, seen.headers) == ("7", {"traceparent": "t"})


def test_rows_are_counted_and_not_calls(make: Make) -> None:
    setup, waiting = make(max_rows=4), []
    with busy(setup, waiting, (1.0, 1.0), (2.0,), (3.0, 3.0), (4.0, 4.0)):
        pass
    assert [answer.result(_WAIT)[0] for answer in waiting] == [2.0, 4.0, 6.0, 8.0]
    assert setup.child.sizes == [1, 3, 4]


def test_a_call_with_more_rows_than_the_limit_is_made_alone_and_does_not_wait(make: Make) -> None:
    setup = make(max_rows=2)
    first = setup.ask(0.0)
    setup.child.wait_for_calls(1)
    large = setup.ask(1.0, 2.0, 3.0)
    setup.child.wait_for_calls(2)  # while the first is still under way
    setup.child.gate.open()
    assert large.result(_WAIT) == [2.0, 4.0, 6.0]
    assert first.result(_WAIT) == [0.0]


@pytest.mark.parametrize(
    "changes",
    [
        {"outputs": ["predict_proba"]},
        {"parameters": {"threshold": 0.5}},
        {"headers": {"baggage": "tenant=1"}},
    ],
)
def test_calls_that_differ_in_what_they_ask_for_are_not_put_together(
    make: Make, changes: dict[str, Any]
) -> None:
    setup = make()
    first = setup.ask(0.0)
    setup.child.wait_for_calls(1)
    others = [setup.ask(1.0, **changes) for _ in range(3)]
    setup.child.wait_for_calls(2)  # neither waits for the other kind
    setup.wait_for(2)
    setup.child.gate.open()
    assert [answer.result(_WAIT) for answer in (first, *others)] == [[0.0], [2.0], [2.0], [2.0]]
    assert setup.child.sizes == [1, 1, 2]
    assert setup.child.calls[2][0].outputs == changes.get("outputs", [])
    assert setup.child.calls[2][0].parameters == changes.get("parameters", {})
    assert setup.child.calls[2][1].headers == changes.get("headers", {})


@pytest.mark.parametrize("tagged", [True, False])
def test_a_seed_keeps_calls_of_a_pipeline_apart_which_receives_it(make: Make, tagged: bool) -> None:
    setup = make(Child(tagged=tagged))
    answers = [setup.ask(1.0, seed=7) for _ in range(2)]
    setup.child.wait_for_calls(1 + tagged)
    setup.child.gate.open()
    assert [answer.result(_WAIT) for answer in answers] == [[2.0], [2.0]]


def test_calls_with_a_budget_are_not_shared_where_the_childs_own_calls_would_spend_it(
    make: Make,
) -> None:
    setup = make(shares_budget=True)
    answers = [setup.ask(1.0, limits=RequestBudget(max_calls=3)) for _ in range(2)]
    setup.child.wait_for_calls(2)
    setup.child.gate.open()
    assert [answer.result(_WAIT) for answer in answers] == [[2.0], [2.0]]


def test_a_batch_has_the_deadline_of_its_most_patient_caller_and_is_part_of_no_trace(
    make: Make,
) -> None:
    setup, waiting = make(), []
    with busy(setup, waiting, headers={"baggage": "same"}):
        for seconds, name in ((_WAIT, "a"), (2 * _WAIT, "b")):
            headers = {"traceparent": name, "x-request-id": name, "baggage": "same"}
            waiting.append(setup.ask(1.0, timeout=seconds, headers=headers, id=name))
            setup.wait_for(len(waiting))
    assert [answer.result(_WAIT) for answer in waiting] == [[2.0], [2.0]]
    sent, seen = setup.child.calls[1]
    assert sent.id is None
    assert seen.headers == {"baggage": "same"}
    assert seen.budget == 2 * _WAIT
    assert (seen.remaining() or 0.0) > _WAIT


def test_a_batch_without_a_deadline_has_none(make: Make) -> None:
    setup, waiting = make(), []
    with busy(setup, waiting, (1.0,)):
        waiting.append(setup.ask(1.0, timeout=None))
        setup.wait_for(2)
    assert [answer.result(_WAIT) for answer in waiting] == [[2.0], [2.0]]
    assert setup.child.calls[1][1].deadline is None


def test_one_callers_wrong_row_is_an_error_of_that_caller_alone(make: Make) -> None:
    setup, waiting = make(), []
    with busy(setup, waiting, (1.0,), (13.0,), (3.0,)):
        pass
    assert waiting[0].result(_WAIT) == [2.0]
    assert waiting[2].result(_WAIT) == [6.0]
    with pytest.raises(PayloadError, match="13 is not allowed"):
        waiting[1].result(_WAIT)
    assert setup.child.sizes == [1, 3, 1, 1, 1]


def _only(call: Request) -> Response:
    """Answer with one row, however many there are."""
    [tensor] = call.tensors
    return Response([Tensor("y", "FP64", [1], 2 * tensor.data[:1])])


def test_a_child_that_is_not_row_wise_is_asked_one_by_one_and_named_once(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    setup, waiting = make(Child(_only)), []
    with busy(setup, waiting, (1.0,), (2.0,), (3.0,)):
        pass
    assert [answer.result(_WAIT) for answer in waiting] == [[2.0], [4.0], [6.0]]
    setup.child.gate.close()
    later = [setup.ask(5.0) for _ in range(3)]
    setup.child.wait_for_calls(len(setup.child.calls) + 3)  # none waits for another
    setup.child.gate.open()
    assert [answer.result(_WAIT) for answer in later] == [[10.0]] * 3
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    text = warning.getMessage()
    assert "child 'double' at http://double" in text
    assert "'y' has shape [1] for 3 rows; remove its `batching`" in text


def _only_one_row(request: Request) -> Response:
    if request.tensors[0].shape[0] > 1:
        raise ChildFailed("it takes one row", model="double")
    return doubled(request)


def test_an_answer_of_always_as_many_values_is_not_taken_for_rows(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    def quartiles(request: Request) -> Response:
        found = np.quantile(request.tensors[0].data, [0.25, 0.5, 0.75])
        return Response([Tensor("y", "FP64", [3], found)])

    setup = make(Child(quartiles))
    answers = [setup.ask(0.0)]
    setup.child.wait_for_calls(1)
    for number in (1, 2, 3):
        answers.append(setup.ask(float(number)))
        setup.wait_for(number)
    setup.child.gate.open()
    assert [answer.result(_WAIT) for answer in answers] == [[float(n)] * 3 for n in range(4)]
    assert "its output 'y' has shape [3] for 1 rows" in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        lambda data: Tensor("y", "FP64", [len(data)] * 2, np.subtract.outer(data, data).ravel()),
        lambda data: Tensor("y", "FP64" if 2.5 in data else "INT64", [len(data)], data),
    ],
    ids=["row length", "datatype"],
)
def test_an_answer_whose_form_depends_on_the_rows_of_other_calls_is_discarded(
    answer: Callable[[Any], Tensor], make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    setup = make(Child(lambda request: Response([answer(request.tensors[0].data)])))
    waiting: list[Future[Any]] = []
    with busy(setup, waiting, (1.0,), (2.5,)):
        pass
    alone = [answer(np.array([number])).data.tolist() for number in (1.0, 2.5)]
    assert [call.result(_WAIT) for call in waiting] == alone
    assert setup.child.sizes == [1, 2, 1, 1]
    assert "its outputs are [" in caplog.text


def test_a_child_that_fails_only_together_is_no_longer_asked_together(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    setup = make(Child(_only_one_row))
    for turn in range(4):
        waiting: list[Future[Any]] = []
        setup.child.gate.close()
        setup.child.calls.clear()
        if turn == 3:
            break
        with busy(setup, waiting, (1.0,), (2.0,)):
            pass
        assert [answer.result(_WAIT) for answer in waiting] == [[2.0], [4.0]]
    answers = [setup.ask(1.0) for _ in range(3)]
    setup.child.wait_for_calls(3)
    setup.child.gate.open()
    assert [answer.result(_WAIT) for answer in answers] == [[2.0]] * 3
    assert "calls fail together that succeed alone (it takes one row)" in caplog.text


def test_an_outage_is_not_taken_for_a_child_that_fails_only_together(make: Make) -> None:
    outage = threading.Event()

    def answer(request: Request) -> Response:
        if request.tensors[0].shape[0] > 1 and outage.is_set():
            raise ChildUnavailable("it is down", model="double")
        return doubled(request)

    setup = make(Child(answer))
    for turn in range(5):
        waiting: list[Future[Any]] = []
        setup.child.gate.close()
        setup.child.calls.clear()
        outage.set() if turn < 4 else outage.clear()
        with busy(setup, waiting, (1.0,), (2.0,)):
            pass
        assert [answer.result(_WAIT) for answer in waiting] == [[2.0], [4.0]]
    assert setup.child.sizes == [1, 2]


def test_a_deadline_that_passes_in_the_queue_is_answered_at_that_moment(make: Make) -> None:
    setup, waiting = make(), []
    with busy(setup, waiting, (1.0,)):
        late = setup.ask(2.0, timeout=0.05)
        with pytest.raises(
            DeadlineExceeded, match="child 'double' at http://double did not answer"
        ):
            late.result(_WAIT)
        assert setup.child.running == 1  # the call that it waited for
        setup.wait_for(1)
    assert waiting[0].result(_WAIT) == [2.0]
    assert setup.child.sizes == [1, 1]


def test_the_childs_timeout_covers_the_wait_and_the_call_together(make: Make) -> None:
    setup, waiting = make(timeout=_WAIT), []
    with busy(setup, waiting, (1.0,)):
        pass
    assert waiting[0].result(_WAIT) == [2.0]
    assert setup.child.calls[0][1].waited == 0
    assert setup.child.calls[1][1].waited > 0


def test_a_timeout_that_passes_in_the_queue_names_the_setting(make: Make) -> None:
    setup = make(timeout=0.05)
    first = setup.ask(0.0)
    setup.child.wait_for_calls(1)
    with pytest.raises(ChildUnavailable, match=r"within 0.05 s, its `timeout`"):
        setup.ask(1.0).result(_WAIT)
    setup.child.gate.open()
    first.result(_WAIT)


def test_each_caller_of_a_batch_stops_waiting_at_its_own_deadline(make: Make) -> None:
    setup, waiting = make(turns=1), []
    gate = threading.Event()
    first = setup.ask(0.0)
    setup.child.wait_for_calls(1)
    patient = setup.ask(1.0)
    setup.wait_for(1)
    hasty = setup.ask(2.0, timeout=0.3)
    setup.wait_for(2)

    def answer(request: Request) -> Response:
        if request.tensors[0].shape[0] == 1:
            return doubled(request)
        gate.wait(_WAIT)
        return doubled(request)

    setup.child.answer = answer
    setup.child.gate.open()
    first.result(_WAIT)
    setup.child.wait_for_calls(2)
    with pytest.raises(DeadlineExceeded):
        hasty.result(_WAIT)
    gate.set()
    assert patient.result(_WAIT) == [2.0]
    assert setup.child.sizes == [1, 2]
    assert waiting == []


async def until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, condition)


async def _tasks(setup: Setup, count: int) -> list[asyncio.Task[Response]]:
    """Make calls in tasks of this loop, after the first of which the child is busy."""

    async def ask(number: int) -> Response:
        with context.serving(_WAIT, {}):
            return await setup.transport.infer(plain(np.array([float(number)])))

    tasks = [asyncio.create_task(ask(number)) for number in range(count)]
    await until(lambda: bool(setup.child.calls) and setup.waiting == count - 1)
    return tasks


async def test_calls_of_coroutines_go_together(make: Make) -> None:
    setup = make()
    tasks = await _tasks(setup, 5)
    setup.child.gate.open()
    answers = [response.tensors[0].data.tolist() for response in await asyncio.gather(*tasks)]
    assert answers == [[0.0], [2.0], [4.0], [6.0], [8.0]]
    assert setup.child.sizes == [1, 4]


async def test_cancelled_calls_leave_the_queue_before_they_are_sent(make: Make) -> None:
    setup = make()
    tasks = await _tasks(setup, 5)
    for task in tasks[1:4]:
        task.cancel()
    await asyncio.wait(tasks[1:4])
    setup.child.gate.open()
    responses = await asyncio.gather(tasks[0], tasks[4])
    assert [response.tensors[0].data.tolist() for response in responses] == [[0.0], [8.0]]
    assert setup.child.sizes == [1, 1]


async def test_a_cancelled_call_gives_its_turn_to_those_that_wait(make: Make) -> None:
    setup = make()
    tasks = await _tasks(setup, 3)
    tasks[0].cancel()
    await until(lambda: len(setup.child.calls) == 2)
    setup.child.gate.open()
    await asyncio.wait(tasks)
    assert setup.child.sizes == [1, 2]
    await until(lambda: not setup.transport._queues)


async def test_a_batch_is_cancelled_when_all_its_callers_are_gone(make: Make) -> None:
    setup = make()
    tasks = await _tasks(setup, 4)
    tasks[0].cancel()
    await until(lambda: len(setup.child.calls) == 2)
    tasks[1].cancel()
    tasks[2].cancel()
    await asyncio.wait(tasks[:3])
    assert setup.child.running == 1
    assert not setup.child.calls[1][1].allowance.abandoned
    tasks[3].cancel()
    await asyncio.wait(tasks)
    await until(lambda: not setup.child.running)
    assert setup.child.calls[1][1].allowance.abandoned
    assert setup.child.cancelled == 2
    await until(lambda: not setup.transport._queues)


async def test_calls_of_threads_and_coroutines_go_together(make: Make) -> None:
    setup = make()
    tasks = await _tasks(setup, 2)
    other = setup.ask(5.0)
    await until(lambda: setup.waiting == 2)
    setup.child.gate.open()
    await asyncio.wait(tasks)
    assert (await asyncio.wrap_future(other)) == [10.0]
    assert setup.child.sizes == [1, 2]


def test_a_wait_for_others_begins_when_the_child_is_idle_too(make: Make) -> None:
    setup = make(max_delay=0.2, max_rows=3)
    setup.child.gate.open()
    answers = [setup.ask(1.0), setup.ask(2.0)]
    assert [answer.result(_WAIT) for answer in answers] == [[2.0], [4.0]]
    assert setup.child.sizes == [2]


def test_a_wait_for_others_ends_when_there_are_enough_rows(make: Make) -> None:
    setup = make(max_delay=_WAIT * 10, max_rows=3)
    setup.child.gate.open()
    answers = [setup.ask(1.0), setup.ask(2.0), setup.ask(3.0)]
    assert [answer.result(_WAIT) for answer in answers] == [[2.0], [4.0], [6.0]]
    assert setup.child.sizes == [3]


def test_a_wait_for_others_never_makes_a_call_late(make: Make) -> None:
    setup = make(max_delay=10 * _WAIT)
    setup.child.gate.open()
    patient = setup.ask(1.0)
    setup.wait_for(1)
    hasty = setup.ask(2.0, timeout=0.5)
    assert [answer.result(_WAIT) for answer in (patient, hasty)] == [[2.0], [4.0]]
    assert setup.child.sizes == [2]


def test_a_call_that_no_other_joins_is_made_when_its_wait_is_over(make: Make) -> None:
    setup = make(max_delay=0.01)
    setup.child.gate.open()
    assert setup.ask(1.0).result(_WAIT) == [2.0]
    wait_until(lambda: not setup.transport._queues)


def test_a_wait_refuses_no_call_and_does_not_limit_its_time(make: Make) -> None:
    setup = make(max_delay=0.001, max_rows=4)
    answers = [setup.ask(float(number), timeout=None) for number in range(20, 50)]
    setup.child.wait_for_calls(1)
    setup.wait_for(len(answers) - len(setup.child.calls[0][0].tensors[0].data))
    setup.child.gate.open()
    assert [answer.result(_WAIT) for answer in answers] == [[2.0 * n] for n in range(20, 50)]


def test_several_servers_work_at_the_same_time(make: Make) -> None:
    setup = make(turns=2)
    answers = [setup.ask(1.0), setup.ask(2.0)]
    setup.child.wait_for_calls(2)
    answers += [setup.ask(3.0), setup.ask(4.0)]
    setup.wait_for(2)
    setup.child.gate.open()
    assert [answer.result(_WAIT) for answer in answers] == [[2.0], [4.0], [6.0], [8.0]]


@pytest.mark.parametrize("where", ["next", "_common", "_sent", "_make", "join", "split"])
def test_an_error_in_forming_batches_ends_neither_them_nor_a_call(
    make: Make, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    setup, waiting = make(), []
    holders = {"next": batching._Queue, "_sent": BatchingTransport, "_make": BatchingTransport}
    holder: Any = holders.get(where, batching)
    genuine, faults = getattr(holder, where), iter([True])

    def faulty(*args: Any) -> Any:
        if next(faults, False):
            raise RuntimeError("a fault")
        return genuine(*args)

    with busy(setup, waiting, (1.0,), (2.0,), (3.0,)):
        monkeypatch.setattr(holder, where, faulty)
    assert [answer.result(_WAIT) for answer in waiting] == [[2.0], [4.0], [6.0]]
    setup.child.gate.close()
    setup.child.calls.clear()
    later: list[Future[Any]] = []
    with busy(setup, later, (1.0,), (2.0,)):
        pass
    assert [answer.result(_WAIT) for answer in later] == [[2.0], [4.0]]
    assert setup.child.sizes == [1, 2]


def test_a_call_that_hangs_in_its_thread_does_not_hold_up_others_for_ever(make: Make) -> None:
    setup = make()
    hanging = setup.ask(0.0, timeout=0.05)  # a thread cannot be interrupted
    setup.child.wait_for_calls(1)
    wait_until(lambda: not setup.child.calls[0][1].deadline or _is_over(setup.child.calls[0][1]))
    other = setup.ask(1.0)
    setup.child.wait_for_calls(2)
    setup.child.gate.open()
    assert other.result(_WAIT) == [2.0]
    hanging.result(_WAIT)
    wait_until(lambda: not setup.transport._queues)


def _is_over(current: context.RequestContext) -> bool:
    try:
        current.remaining()
    except DeadlineExceeded:
        return True
    return False


def test_a_batch_does_not_run_in_the_context_of_a_request(make: Make) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="none")
    seen = []

    def answer(request: Request) -> Response:
        seen.append(variable.get())
        return doubled(request)

    async def ask() -> None:
        variable.set("a request's")
        with context.serving(_WAIT, {}):
            await setup.transport.infer(plain(np.array([1.0])))

    async def many() -> None:
        tasks = [asyncio.ensure_future(ask()) for _ in range(3)]
        await until(lambda: setup.waiting == 2)
        setup.child.gate.open()
        await asyncio.gather(*tasks)

    setup = make(Child(answer))
    background().run(many())
    assert seen == ["a request's", "none"]


async def test_a_blocking_call_on_the_portals_loop_is_refused(make: Make) -> None:
    setup, waiting = make(), []

    async def ask() -> None:
        setup.transport.infer_blocking(plain(np.array([1.0])))

    with busy(setup, waiting), pytest.raises(PipelineFailed, match="without await"):
        background().run(ask())
    wait_until(lambda: not setup.transport._queues)


def streamed(x: np.ndarray) -> Iterator[np.ndarray]:
    yield x


def texted(x: np.ndarray) -> str:
    return str(x)


def framed(x: np.ndarray) -> dict[str, int]:
    return {}


@pytest.mark.parametrize(
    ("function", "reason"),
    [(streamed, "it streams"), (texted, "its outputs are not"), (framed, "its outputs are not")],
)
def test_a_child_that_cannot_answer_in_rows_is_never_asked_together_and_it_is_said_once(
    make: Make, caplog: pytest.LogCaptureFixture, function: Callable[..., Any], reason: str
) -> None:
    setup = make(signature=Signature.of(function))
    answers = [setup.ask(1.0) for _ in range(3)]
    setup.child.wait_for_calls(3)
    setup.child.gate.open()
    assert [answer.result(_WAIT) for answer in answers] == [[2.0]] * 3
    assert caplog.text.count(reason) == 1


def test_metrics_have_the_sizes_of_batches_and_the_time_that_calls_waited(make: Make) -> None:
    setup, waiting = make(), []
    with busy(setup, waiting, (1.0,), (2.0, 3.0)):
        pass
    for answer in waiting:
        answer.result(_WAIT)
    assert (setup.sample("calls_count"), setup.sample("calls_sum")) == (2, 3)
    assert setup.sample("rows_sum") == 4
    assert setup.sample("wait_seconds_count") == 3
    assert setup.sample("wait_seconds_sum") > 0


def test_closing_lets_calls_that_wait_go_on_alone(make: Make) -> None:
    setup, waiting = make(), []
    with busy(setup, waiting, (1.0,), (2.0,)):
        background().run(setup.transport.close())
        setup.child.wait_for_calls(3)
    assert [answer.result(_WAIT) for answer in waiting] == [[2.0], [4.0]]
    assert setup.child.closed


# -- under load ------------------------------------------------------------------------------------


def test_a_thousand_calls_of_32_threads_at_once_each_get_their_own_answer(make: Make) -> None:
    setup = make(max_rows=16)
    setup.child.gate.open()
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=size) for size in rng.integers(1, 5, 1000)]
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(setup._ask, rows))
    wrong = sum(not np.array_equal(2 * row, answer) for row, answer in zip(rows, answers))
    assert wrong == 0
    assert sum(setup.child.sizes) == sum(map(len, rows))
    wait_until(lambda: not setup.transport._queues)


async def test_after_a_storm_of_callers_that_give_up_all_is_answered_again(make: Make) -> None:
    setup = make(max_rows=8)
    setup.child.gate.open()

    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.001)
        return doubled(request)

    setup.transport.inner.infer = slow  # type: ignore[method-assign]
    rng = np.random.default_rng(0)
    futures: weakref.WeakSet[Any] = weakref.WeakSet()

    async def ask(number: int, seconds: float) -> Any:
        with context.serving(seconds, {}):
            task = asyncio.current_task()
            futures.add(task)
            response = await setup.transport.infer(plain(np.array([float(number)])))
            return response.tensors[0].data.tolist() == [2.0 * number]

    for _ in range(10):
        tasks = []
        for number in range(50):
            gives_up = rng.random() < 0.8
            by_cancelling = rng.random() < 0.5
            seconds = 0.002 * rng.random() if gives_up and not by_cancelling else _WAIT
            tasks.append(asyncio.create_task(ask(100 + number, seconds)))
            if gives_up and by_cancelling:
                asyncio.get_running_loop().call_later(0.004 * rng.random(), tasks[-1].cancel)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        gone = (DeadlineExceeded, asyncio.CancelledError)
        odd = [one for one in outcomes if one is not True and not isinstance(one, gone)]
        assert odd == []
    assert all(await asyncio.gather(*(ask(100 + number, _WAIT) for number in range(200))))
    await until(lambda: not setup.transport._queues)
    del tasks, outcomes
    gc.collect()
    assert len(futures) <= 1  # this task's own, at most
    assert len(asyncio.all_tasks()) == 1


# -- the decisions ---------------------------------------------------------------------------------


@dataclass(eq=False)
class _Made:
    rows: Rows
    due: float = 0.0
    overdue: bool = False

    def is_overdue(self) -> bool:
        return self.overdue


@given(
    st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.booleans()), max_size=30),
    st.integers(2, 8),
    st.integers(1, 3),
)
@settings(deadline=None)
def test_calls_are_sent_in_order_within_the_limits_and_none_is_forgotten(
    script: list[tuple[int, bool, bool]], max_rows: int, turns: int
) -> None:
    queue: Any = batching._Queue(Batching(max_rows=max_rows), turns)
    running: list[Any] = []
    sent: list[Any] = []
    entered: list[Any] = []

    def send() -> None:
        while calls := queue.next(0.0):
            assert len(calls) == 1 or sum(call.rows.count for call in calls) <= max_rows
            made = calls[0]
            queue.begin(made, calls)
            running.append(made)
            sent.extend(calls)
            assert len(running) <= turns

    for size, ends, leaves in script:
        call = _Made(Rows(size, (), (True,)))
        entered.append(call)
        if queue.enter(call):
            running.append(call)
            sent.append(call)
        elif leaves:
            queue.leave(call)
            entered.remove(call)
        assert len(running) <= turns
        if ends and running:
            queue.end(running.pop(0))
            send()
    while running:
        queue.end(running.pop(0))
        send()
    assert sent == entered
    assert queue.is_idle
