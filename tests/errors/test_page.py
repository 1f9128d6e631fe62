"""The page of errors is the code's."""

from __future__ import annotations

import pytest

from tempo_runtime.errors import TempoError
from tests.errors.page import PAGE, classes, page

CLASSES = {kind.__name__: kind for kind in classes(TempoError)}


def test_the_page_of_errors_is_what_the_code_says() -> None:
    assert PAGE.read_text() == page(), "write it again: python -m tests.errors.page"


@pytest.mark.parametrize("name", CLASSES)
def test_each_error_has_a_cause_and_a_remedy_of_its_own(name: str) -> None:
    assert {"__doc__", "remedy"} <= vars(CLASSES[name]).keys()
    assert CLASSES[name].remedy.endswith(".")
