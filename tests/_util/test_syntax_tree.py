"""Source is parsed, whatever other threads parse meanwhile."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from typing import Any

import pytest

from tempo_runtime._util import syntax_tree

SOURCE = "\n".join(
    f"def add_{number}(a, b): return [a + b, (a, (b, [a]))]" for number in range(200)
)


@pytest.fixture
def parsed_meanwhile() -> Iterator[list[str]]:
    """Parse something else while the first tree is made, as another thread may, and say so here."""
    parsed: list[str] = []

    def parse(phase: str, info: Any) -> None:
        if not parsed:
            parsed.append(ast.dump(ast.parse("a")))

    gc.collect()
    threshold = gc.get_threshold()
    gc.set_threshold(100)
    gc.callbacks.append(parse)
    yield parsed
    gc.callbacks.remove(parse)
    gc.set_threshold(*threshold)


def test_another_parser_at_the_same_time_does_not_matter(parsed_meanwhile: list[str]) -> None:
    assert len(syntax_tree.parse(SOURCE).body) == 200
    assert parsed_meanwhile


@pytest.mark.parametrize("error", [SystemError, RecursionError])
def test_an_expression_is_parsed_again_after_an_error_by_chance(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    parse, errors = ast.parse, [error(), error()]

    def failing(*arguments: Any, **named: Any) -> Any:
        if errors:
            raise errors.pop()
        return parse(*arguments, **named)

    monkeypatch.setattr(ast, "parse", failing)
    assert ast.literal_eval(syntax_tree.parse_expression("(1, 2)")) == (1, 2)
    assert not errors


def test_source_that_is_nested_too_deeply_still_fails() -> None:
    with pytest.raises((RecursionError, MemoryError)):
        syntax_tree.parse_expression("-" * 100_000 + "1")


def test_a_syntax_error_names_the_file() -> None:
    with pytest.raises(SyntaxError, match=r"wrong\.py"):
        syntax_tree.parse("def", "wrong.py")
