"""A model's name is one that can be deployed."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tempo_runtime.authoring.details import ModelDetails, ModelFramework, check_name
from tempo_runtime.errors import AuthoringError

DNS_1123 = r"\A[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z"
few = settings(deadline=None, max_examples=100)


@few
@given(name=st.from_regex(DNS_1123))
def test_dns_label_is_a_name(name: str) -> None:
    check_name(name)


@few
@given(name=st.text(max_size=80) | st.text("aZ-_0é\n", max_size=80))
def test_anything_else_is_refused_with_a_name_that_would_do(name: str) -> None:
    if re.match(DNS_1123, name):
        return
    with pytest.raises(AuthoringError) as caught:
        check_name(name)
    if suggestion := re.search(r"'([^']*)' would do$", str(caught.value)):
        check_name(suggestion[1])
    else:
        assert not re.search(r"[a-z0-9]", name.lower())


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("Income_Model", "income-model"),
        ("-a-", "a"),
        ("a\n", "a"),
        ("x" * 64, "x" * 63),
        ("a" * 62 + "_b", "a" * 62),
    ],
)
def test_refusal_suggests_the_nearest_name(name: str, suggestion: str) -> None:
    with pytest.raises(AuthoringError, match=f"'{suggestion}' would do"):
        check_name(name)


@pytest.mark.parametrize("name", ["", None, 5])
def test_model_without_a_name_is_refused(name: Any) -> None:
    with pytest.raises(AuthoringError, match="a model needs a name"):
        ModelDetails(name, ModelFramework.SKLearn)


@pytest.mark.parametrize("framework", ModelFramework)
def test_pipelines_and_custom_models_are_served_by_us(framework: ModelFramework) -> None:
    ours = framework in (ModelFramework.TempoPipeline, ModelFramework.Custom)
    assert ModelDetails("m", framework).served_by_us is ours
