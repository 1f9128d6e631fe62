"""Anything sent over HTTP or gRPC is answered, is not our fault, and silences no server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.amounts import examples
from tests.fuzz.requests import Client, client

_LONGEST = 5.0  # seconds; generous, for machines that do much else


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with client(tmp_path_factory.mktemp("models")) as sender:
        sender.silence()
        yield sender


@examples(120)
@given(data=st.data())
def test_a_request_over_http_is_answered_and_is_not_a_fault_of_ours(
    sender: Client, data: st.DataObject
) -> None:
    sender.over_http(data)


@examples(120)
@given(data=st.data())
def test_a_request_over_grpc_is_answered_and_is_not_a_fault_of_ours(
    sender: Client, data: st.DataObject
) -> None:
    sender.over_grpc(data)


def test_after_all_of_them_the_log_has_no_fault_of_ours_and_the_loop_went_on(
    sender: Client,
) -> None:
    assert sender.faults() == []
    assert sender.silence().waited < _LONGEST
