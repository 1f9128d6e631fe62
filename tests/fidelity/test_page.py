"""The page of values is the table's."""

from __future__ import annotations

from tests.fidelity.page import PAGE, page


def test_the_page_of_values_is_what_the_table_says() -> None:
    assert PAGE.read_text() == page(), "write it again: python -m tests.fidelity.page"
