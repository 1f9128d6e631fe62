"""Names that were documented elsewhere still work, and say where they are now."""

import importlib

import pytest

MOVED = {
    ("tempo_runtime.deploy.lint", "lint_files"): "tempo_runtime.lint",
    ("tempo_runtime.deploy.lint", "Finding"): "tempo_runtime.lint",
    ("tempo_runtime.deploy.manifests", "manifest"): "tempo_runtime",
    ("tempo_runtime.deploy.manifests.options", "KServeOptions"): "tempo_runtime",
    ("tempo_runtime.deploy.manifests.options", "ModelOptions"): "tempo_runtime.kubernetes",
}


@pytest.mark.parametrize(("former", "name"), MOVED)
def test_a_moved_name_works_and_warns(former: str, name: str) -> None:
    home = MOVED[former, name]
    with pytest.warns(DeprecationWarning, match=f"{former} has moved: import {name} from {home}$"):
        found = getattr(importlib.import_module(former), name)
    assert found is getattr(importlib.import_module(home), name)


def test_an_unknown_name_is_still_refused() -> None:
    with pytest.raises(AttributeError, match="lintt"):
        importlib.import_module("tempo_runtime.deploy.lint").lintt  # noqa: B018
