"""The page docs/values.md, made from the table: `python -m tests.fidelity.page` writes it."""

from __future__ import annotations

from pathlib import Path

from tests.fidelity.kinds import HINTS
from tests.fidelity.values import VALUES, Row

PAGE = Path(__file__).parents[2] / "docs" / "values.md"

_INTRODUCTION = """\
# Which values arrive, and how

This page is made from the table that the tests in `tests/fidelity` try on every route: a direct call in a
notebook, an artifact that was saved and loaded, a child in the same process, a deployment over HTTP and
over gRPC, servers with 0 and with 2 workers, and pipelines that call other pipelines. On each of them a
value **arrives** (the same value, of the same type), **becomes** what its annotation says, or is
**refused** with the same words. `python -m tests.fidelity.page` writes the page again.

Between two ends of this package, values that JSON lacks travel in a tagged form (see the
[guide](guide.md#types)). Another client, or a child that another server serves, gets plain V2 tensors;
anything else is refused by name. A caller of ours that does not know the annotation of a result
gets standard types as they are, and enums, models, dataclasses and NamedTuples as the JSON that they are
written in.

{count} values of {hints} annotations.
"""


def page() -> str:
    """The text of the page."""
    rows: dict[str, list[Row]] = {hint: [] for hint in HINTS}
    for row in VALUES.values():
        rows[row.hint].append(row)
    parts = [_INTRODUCTION.format(count=len(VALUES), hints=len(HINTS))]
    parts += [_section(hint, found) for hint, found in rows.items()]
    return "\n".join(parts)


def _section(hint: str, rows: list[Row]) -> str:
    lines = [f"## {hint}", "", "| value | |", "|---|---|"]
    lines += [f"| {_code(row.shown)} | {_outcome(row)} |" for row in rows]
    return "\n".join([*lines, ""])


def _outcome(row: Row) -> str:
    if row.refused is not None:
        return "refused"
    return "arrives" if row.becomes is None else f"becomes {_code(row.becomes_shown)}"


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
