"""The details of errors for programs, written and read."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tempo_runtime import errors
from tempo_runtime.errors import ChildRefused, ChildUnavailable, Fault, PayloadError
from tempo_runtime.protocol.error_details import ErrorInfo, marked, unmarked

INFOS = st.builds(
    ErrorInfo,
    kind=st.from_regex(r"[A-Z][A-Za-z]{0,20}", fullmatch=True),
    status=st.integers(400, 599),
    fault=st.sampled_from(Fault),
    retryable=st.booleans(),
    retry_after=st.none() | st.floats(0, 3600),
    path=st.lists(st.text(max_size=30), max_size=5).map(tuple),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
FIELDS = ("kind", "status", "fault", "retryable", "retry_after", "path")


@given(INFOS)
def test_body_and_header_are_read_as_they_were_written(info: ErrorInfo) -> None:
    assert ErrorInfo.read(info.to_json()) == info
    assert ErrorInfo.parse(info.to_header()) == info


@given(st.text(), INFOS, st.booleans())
def test_text_ends_with_what_it_tells(message: str, info: ErrorInfo, short: bool) -> None:
    found, read = unmarked(marked(message, info, short=short))
    assert read == info
    assert short or found == message.encode(errors="replace").decode()


@given(st.text(), INFOS)
def test_text_that_quotes_another_error_tells_its_own(message: str, info: ErrorInfo) -> None:
    inner = marked(message, ErrorInfo("Other", 400, Fault.CHILD))
    assert unmarked(marked(inner, info))[1] == info


@given(st.text())
def test_any_other_text_stays_as_it_is(text: str) -> None:
    assert unmarked(text) == (text, None)
    assert ErrorInfo.parse(text) is None


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(), JSON) | JSON)
def test_anything_that_another_server_sends_is_read_or_left_alone(value: Any) -> None:
    found = ErrorInfo.read(value)
    assert found is None or 400 <= found.status < 600


@given(INFOS, st.lists(st.text(max_size=500), max_size=60))
def test_header_is_short_ascii_whatever_the_path(info: ErrorInfo, path: list[str]) -> None:
    long = ErrorInfo(info.kind, info.status, info.fault, path=tuple(path))
    header = long.to_header()
    assert header.isascii()
    assert header.isprintable()
    assert len(header) <= 2000
    read = ErrorInfo.parse(header)
    assert read is not None
    assert read.kind == info.kind


@settings(deadline=None)
@given(st.text(min_size=5000))
def test_text_over_grpc_fits_into_a_header(message: str) -> None:
    text = marked(message, ErrorInfo("PayloadError", 422, Fault.CLIENT), short=True)
    escaped = sum(1 if 32 <= byte < 127 else 3 for byte in text.encode())
    assert escaped < 6000


def test_class_that_a_worker_puts_in_front_is_not_part_of_the_message() -> None:
    info = ErrorInfo("PayloadError", 422, Fault.CLIENT)
    text = "tempo_runtime.runtime.error_mapping.Answered: " + marked("'x' is missing", info)
    assert unmarked(text) == ("'x' is missing", info)


def test_error_of_a_child_is_pickled_with_its_path_and_status() -> None:
    error = ChildRefused("no", model="shop", url="http://a")
    ErrorInfo("PayloadError", 413, Fault.CLIENT, path=("shop", "prices")).give(error)
    found = pickle.loads(pickle.dumps(error))
    assert ErrorInfo.of(found) == ErrorInfo.of(error)
    assert (found.model, found.url, found.path) == ("shop", "http://a", ("shop", "prices"))


@pytest.mark.parametrize(
    ("error", "fault", "retryable"),
    [
        (PayloadError("no"), Fault.CLIENT, False),
        (errors.BudgetExceeded("no"), Fault.CLIENT, False),
        (errors.PipelineFailed("no"), Fault.PIPELINE, False),
        (errors.ArgumentError("no"), Fault.PIPELINE, False),
        (errors.Overloaded("no"), Fault.SERVER, True),
        (ChildUnavailable("no", model="a"), Fault.CHILD, True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_class_of_an_error_says_whose_fault_it_is(
    error: errors.TempoError, fault: Fault, retryable: bool
) -> None:
    info = ErrorInfo.of(error)
    assert (info.kind, info.fault, info.retryable) == (type(error).__name__, fault, retryable)
