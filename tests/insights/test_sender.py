"""A sink that is away, hangs, refuses or fails costs events, which are counted, and no request."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from tempo_runtime.errors import RequestNotLogged, SettingsError
from tempo_runtime.insights.request_log import LoggedRequest, RequestLog
from tempo_runtime.settings import InsightsSettings
from tests.helpers.sink import Sink
from tests.helpers.waiting import wait_until

Make = Callable[..., RequestLog]
_names = iter(range(10**6))


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture
def make(sink: Sink) -> Iterator[Make]:
    logs = []

    def make(**options: Any) -> RequestLog:
        settings = {"sink": sink.url, "max_delay": 0.0, "flush_timeout": 0.2, **options}
        log = RequestLog(f"sent-{next(_names)}", None, InsightsSettings(**settings))
        logs.append(log)
        return log

    yield make
    for log in logs:
        log.close()


def put(log: RequestLog, count: int = 1, value: Any = None) -> None:
    for number in range(count):
        request = log.begin(f"r-{number}", {})
        assert request is not None
        request.logged(number if value is None else value)


def counted(log: RequestLog, name: str, **labels: str) -> float:
    labels = {"pipeline": log.pipeline, **labels}
    return REGISTRY.get_sample_value(f"tempo_insights_{name}", labels) or 0.0


def sent(log: RequestLog) -> float:
    return counted(log, "events_sent_total")


def dropped(log: RequestLog, reason: str) -> float:
    return counted(log, "events_dropped_total", reason=reason)


def test_events_of_many_requests_are_sent_together(make: Make, sink: Sink) -> None:
    log = make(max_delay=0.2, max_batch=50)
    put(log, 120)
    sink.wait(120)
    assert sorted(len(events) for _, events in sink.requests) == [20, 50, 50]
    wait_until(lambda: sent(log) == 120)
    assert (log.queue.events, log.queue.bytes) == (0, 0)


def test_a_full_batch_waits_for_no_others_and_the_next_events_wait_for_a_full_one(
    make: Make, sink: Sink
) -> None:
    sink.go_on.clear()
    log = make(max_delay=60, max_batch=10)
    put(log, 10)
    wait_until(lambda: sink.attempts == 1)
    put(log, 4)
    sink.go_on.set()
    wait_until(lambda: sent(log) == 10)
    put(log, 6)
    sink.wait(20)
    assert [len(events) for _, events in sink.requests] == [10, 10]


@pytest.mark.parametrize("limits", [{"max_events": 10}, {"max_bytes": 40_000}])
def test_a_queue_that_is_smaller_than_a_batch_is_not_filled_while_events_wait(
    limits: dict[str, int], make: Make, sink: Sink
) -> None:
    log = make(max_delay=60, **limits)
    put(log, 5, value="x" * 4000)
    sink.wait(5)
    assert dropped(log, "queue_full") == 0


def test_events_wait_for_a_sink_that_is_away_and_arrive_in_order(make: Make, sink: Sink) -> None:
    sink.stop()
    log = make()
    put(log, 5)
    wait_until(lambda: counted(log, "queue_events") == 5)
    assert counted(log, "queue_bytes") > 0
    sink.start()
    sink.wait(5)
    assert [event["data"]["value"] for event in sink.events] == [0, 1, 2, 3, 4]
    wait_until(lambda: counted(log, "queue_events") == 0)


def test_a_full_queue_drops_what_comes_next_and_counts_it(make: Make, sink: Sink) -> None:
    sink.stop()
    log = make(max_events=10)
    put(log, 25)
    assert dropped(log, "queue_full") == 15
    sink.start()
    sink.wait(10)
    wait_until(lambda: sent(log) == 10)


def test_a_queue_is_bounded_by_size_as_well(make: Make, sink: Sink) -> None:
    sink.stop()
    log = make(max_bytes=100_000)
    put(log, 20, value="x" * 20_000)
    assert log.queue.bytes <= 100_000
    assert dropped(log, "queue_full") == 16


def test_an_event_on_its_way_counts_against_the_bounds(make: Make, sink: Sink) -> None:
    sink.go_on.clear()
    log = make(max_events=3)
    put(log)
    wait_until(lambda: sink.attempts == 1)
    put(log, 5)
    assert log.queue.events == 3
    assert dropped(log, "queue_full") == 3
    sink.go_on.set()
    sink.wait(3)


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_events_that_may_succeed_later_are_sent_again(make: Make, sink: Sink, status: int) -> None:
    sink.status = status
    log = make()
    put(log, 3)
    wait_until(lambda: sink.attempts >= 2)
    sink.status = 202
    sink.wait(3)
    assert dropped(log, "refused") == 0


@pytest.mark.parametrize("status", [400, 401, 413, 302])
def test_events_that_the_sink_refuses_are_dropped_and_logged_once(
    make: Make, sink: Sink, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    sink.status, sink.location = status, "http://elsewhere"
    log = make(token="s3cret", headers={"x-key": "s3cret"})
    for count in (1, 2):
        put(log)
        wait_until(lambda: dropped(log, "refused") == count)  # noqa: B023
    assert sink.attempts == 2
    assert caplog.text.count("refuses the request logs") == 1
    assert f"answered {status}, a redirect to http://elsewhere" in caplog.text
    assert "s3cret" not in caplog.text
    sink.status = 200
    put(log)
    sink.wait(1)


def test_a_sink_that_hangs_is_given_up_and_tried_again(make: Make, sink: Sink) -> None:
    sink.go_on.clear()
    log = make(timeout=0.05)
    put(log, 2)
    wait_until(lambda: sink.attempts >= 2)
    sink.go_on.set()
    # The sink gets the events of each attempt, with the same ids.
    wait_until(lambda: sent(log) == 2)
    assert len({event["id"] for event in sink.events}) == 2


def test_a_sink_that_never_ends_its_answer_is_given_up(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        log = make(sink=f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=0.05)
        put(log)
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")
            other, _ = listener.accept()
            other.close()
        assert sent(log) == 0


def test_putting_an_event_never_waits_for_the_sink(make: Make, sink: Sink) -> None:
    sink.go_on.clear()
    log = make()
    put(log)
    wait_until(lambda: sink.attempts == 1)
    put(log, 1000)  # would hang here
    assert log.queue.events == 1001
    sink.go_on.set()


def test_waiting_events_are_sent_when_the_log_is_closed(make: Make, sink: Sink) -> None:
    log = make(max_delay=60, flush_timeout=10)
    put(log, 3)
    log.close()
    assert len(sink.events) == 3


def test_closing_takes_no_longer_than_allowed_and_counts_what_is_lost(
    make: Make, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    sink.go_on.clear()
    log = make(max_batch=2, flush_timeout=0.05)
    put(log, 5)
    log.close()
    assert dropped(log, "shutdown") == 5
    assert "events of the request logs" in caplog.text
    put(log)
    assert dropped(log, "shutdown") == 6
    assert sent(log) + dropped(log, "shutdown") == 6
    assert log.queue.events == 0


def test_failures_and_recovery_are_logged_once(
    make: Make, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    sink.status = 503
    log = make()
    put(log)
    wait_until(lambda: sink.attempts >= 3)
    sink.status = 200
    sink.wait(1)
    wait_until(lambda: "takes the request logs" in caplog.text)
    assert caplog.text.count("does not take the request logs") == 1


def test_values_that_json_lacks_are_written(make: Make, sink: Sink) -> None:
    log = make()
    values = {
        "big": 2**70,
        "half": "\ud800",
        "nan": float("nan"),
        "bytes": b"\xff",
        "complex": 1j,
        "set": {1},
        "numbers": np.array([np.nan, 1.0])[::-1],
        "half floats": np.array([1.5], np.float16),
        "text": np.array(["a", "b"]),
        "times": np.array(["2020-01-01"], "datetime64[D]"),
        "objects": np.array([{"a": 1}, None], object),
        "complex numbers": np.array([1j]),
        "number": np.float32(1.5),
        (1, "a"): object,
    }
    for value in values.values():
        put(log, value={"value": value})
    put(log, value=values)
    sink.wait(len(values) + 1)
    written = [event["data"]["value"]["value"] for event in sink.events[:-1]]
    assert written[:6] == [2**70, "\ud800", None, "/w==", "1j", [1]]
    assert written[6:9] == [[1.0, None], [1.5], ["a", "b"]]
    assert written[10:13] == [[{"a": 1}, None], ["1j"], 1.5]
    assert dropped(log, "unwritable") == 0


def test_the_types_and_the_source_can_be_chosen(make: Make, sink: Sink) -> None:
    log = make(type_prefix="org.kubeflow.serving.inference", source="urn:shop")
    put(log)
    [event] = sink.wait(1)
    assert event["type"] == "org.kubeflow.serving.inference.custom"
    assert event["source"] == "urn:shop"


def test_certificates_that_cannot_be_read_are_refused(make: Make) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.pem cannot be read"):
        make(ca="/nowhere.pem")


# -- which requests --------------------------------------------------------------------------------


def test_a_sample_has_its_share_and_all_requests_of_one_user(make: Make) -> None:
    log = make(sample_rate=0.3, sample_header="x-user")
    for user in range(200):
        chosen = [
            log.begin(f"r-{number}", {"x-user": f"user-{user}"}) is not None for number in range(3)
        ]
        assert len(set(chosen)) == 1
    count = sum(log.begin("r", {"x-user": f"user-{user}"}) is not None for user in range(2000))
    assert 480 < count < 720


def test_a_sample_by_an_argument_has_all_requests_of_one_user(make: Make, sink: Sink) -> None:
    log = make(sample_rate=0.5, sample_argument="user")
    for number in range(60):
        request = log.begin(f"r-{number}", {})
        assert request is not None
        request.arguments({"user": f"user-{number % 6}"})
        request.logged("mine")
        request.answered("answer", 0.1)
    wait_until(lambda: sent(log) > 0)
    wait_until(lambda: log.queue.events == 0)
    kinds = [event["type"].rpartition(".")[2] for event in sink.events]
    assert kinds.count("request") == kinds.count("response") == kinds.count("custom")
    users = [event["data"]["arguments"]["user"] for event in sink.of("request")]
    assert 0 < len(set(users)) < 6
    assert all(users.count(user) == 10 for user in users)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_none_or_all_requests_are_logged(make: Make, rate: float) -> None:
    log = make(sample_rate=rate)
    for number in range(100):
        assert (log.begin(f"r-{number}", {}) is not None) == (rate == 1)


def test_parts_can_be_left_out(make: Make, sink: Sink) -> None:
    log = make(log=("response",))
    request = log.begin("r-1", {})
    assert request is not None
    request.arguments({"rows": 1})
    assert request.child("shop", "prices", {"rows": 1}, ()) is None
    request.answered(2, 0.1)
    [event] = sink.wait(1)
    assert event["data"]["result"] == 2


def test_calls_beyond_the_limit_are_counted(make: Make, sink: Sink) -> None:
    log = make(max_child_events=2)
    request = log.begin("r-1", {})
    assert request is not None
    for _ in range(5):
        call = request.child("shop", "prices", {"rows": 1}, ())
        if call is not None:
            call.ended(1, None, 0.1)
    request.answered(2, 0.1)
    sink.wait(3)
    assert dropped(log, "child_limit") == 3
    assert sink.of("response")[0]["data"]["child_calls"] == 5


def test_values_that_are_cut_are_named(make: Make, sink: Sink) -> None:
    log = make(max_payload_bytes=1000)
    request = log.begin("r-1", {})
    assert request is not None
    request.arguments({"rows": np.zeros((1000, 10)), "text": "x" * 5000})
    [event] = sink.wait(1)
    assert len(event["data"]["arguments"]["rows"]) == 12
    assert event["data"]["cut"] == [
        {"name": "rows", "kept": 12, "of": 1000},
        {"name": "text", "kept": 32, "of": 5000},
    ]


class Broken(Mapping[str, Any]):
    """A value that cannot be copied."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("broken")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("broken")

    def __len__(self) -> int:
        raise RuntimeError("broken")


def _ended(request: LoggedRequest, answer: Any) -> None:
    call = request.child("p", "child", {"x": 1}, ())
    assert call is not None
    call.ended(answer, None, 0.1)


NOTES: dict[str, Callable[[LoggedRequest, Any], Any]] = {
    "arguments": lambda request, value: request.arguments({"x": value}),
    "arguments of a call": lambda request, value: request.child("p", "child", {"x": value}, ()),
    "answer of a call": _ended,
    "own value": lambda request, value: request.logged(value),
    "item": lambda request, value: request.item(value),
    "answer": lambda request, value: request.answered(value, 0.1),
}


@pytest.mark.parametrize("note", NOTES)
def test_a_value_that_cannot_be_copied_costs_its_event_and_no_request(
    make: Make, sink: Sink, caplog: pytest.LogCaptureFixture, note: str
) -> None:
    log = make()
    request = log.begin("r-1", {})
    assert request is not None
    NOTES[note](request, Broken())
    assert dropped(log, "unwritable") == 1
    [record] = [record for record in caplog.records if "cannot be written" in record.message]
    assert record.exc_info
    request.streamed(0.1)
    [event] = sink.wait(1)
    assert event["data"]["result"] == []
    assert ("cut" in event["data"]) == (note == "item")


@pytest.mark.parametrize("note", [name for name in NOTES if name != "item"])
def test_an_audited_request_with_a_value_that_cannot_be_copied_is_not_answered(
    make: Make, note: str
) -> None:
    request = make(audit=True).begin("r-1", {})
    assert request is not None

    async def answer() -> None:
        NOTES[note](request, Broken())
        if note != "answer":
            request.answered(1, 0.1)
        assert request.is_audited
        await request.audited(None)

    with pytest.raises(RequestNotLogged, match="unwritable"):
        asyncio.run(answer())
