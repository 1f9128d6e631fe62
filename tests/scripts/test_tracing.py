"""Coverage traces no more than `tests/helpers/tracing.py` says, also in the workers of pytest-xdist."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.no_cover
def test_a_test_marked_no_cover_is_not_traced() -> None:
    assert not type(sys.gettrace()).__module__.startswith("coverage")


@given(value=st.none())
def test_generated_values_are_not_traced(value: None) -> None:
    assert not type(sys.gettrace()).__module__.startswith("coverage")
