"""The pipelines that values are sent to and come from, one argument or result for each annotation."""

from __future__ import annotations

import inspect
from typing import Any

import pandas as pd
from typing_extensions import TypedDict

from tempo_runtime import PipelineModels, model, pipeline
from tests.fidelity.identity import identity
from tests.fidelity.kinds import HINTS
from tests.fidelity.values import VALUES

NAMES = {hint: f"v{number}" for number, hint in enumerate(HINTS)}
_NOT_GIVEN = object()


def _seen(**given: Any) -> str:
    [value] = (value for value in given.values() if value is not _NOT_GIVEN)
    return identity(value)


# One pipeline for all annotations: each would otherwise be a model of its own to load.
_seen.__annotations__ = {NAMES[hint]: HINTS[hint] for hint in HINTS} | {"return": str}
_seen.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_NOT_GIVEN)
        for name in NAMES.values()
    ]
)
seen = model("seen")(_seen)

# A DataFrame is a whole result, and not one of several.
_parts = {NAMES[hint]: HINTS[hint] for hint in HINTS if hint not in ("DataFrame", "Any")}
Given = TypedDict("Given", _parts, total=False)  # type: ignore[misc]


@model("given")
def given(case: str) -> Given:
    """A result under its annotation."""
    found = VALUES[case]
    return {NAMES[found.hint]: found.make()}  # type: ignore[misc]


@model("given-frame")
def given_frame(case: str) -> pd.DataFrame:
    return VALUES[case].make()


@model("given-any")
def given_any(case: str) -> Any:
    return VALUES[case].make()


GIVERS = {"DataFrame": given_frame, "Any": given_any}


@pipeline("sender", models=PipelineModels(seen=seen))
def sender(case: str) -> str:
    """Sends a value to a child, as a pipeline's code does."""
    found = VALUES[case]
    return str(sender.models.seen(**{NAMES[found.hint]: found.make()}))


@pipeline(
    "receiver", models=PipelineModels(given=given, given_frame=given_frame, given_any=given_any)
)
def receiver(case: str) -> str:
    """Gets a value from a child."""
    found = VALUES[case]
    if found.hint == "DataFrame":
        return identity(receiver.models.given_frame(case))
    if found.hint == "Any":
        return identity(receiver.models.given_any(case))
    return identity(receiver.models.given(case)[NAMES[found.hint]])


ALL = (seen, given, given_frame, given_any, sender, receiver)
