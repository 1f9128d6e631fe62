"""Explanations, read from what explainers give and shown as pictures."""

from __future__ import annotations

import copy
import json
import warnings
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempo_runtime import Explanation, PayloadError, SettingsError
from tempo_runtime.explanations import html

ANCHOR: dict[str, Any] = {
    "meta": {"name": "AnchorTabular", "params": {"threshold": 0.95}},
    "data": {"anchor": ["age <= 30", "sex = <b>"], "precision": [0.9], "coverage": 0.25},
}
SHAPLEY: dict[str, Any] = {
    "meta": {"name": "KernelShap", "task": "classification"},
    "data": {
        "shap_values": [[[0.25, -0.5], [0.1, 0.2]], [[-0.25, 0.5], [-0.1, -0.2]]],
        "expected_value": [0.5, 0.5],
        "feature_names": ["age", "hours"],
        "raw": {"prediction": [1, 0]},
    },
}
COUNTERFACTUAL: dict[str, Any] = {
    "meta": {"name": "CounterfactualRLTabular", "params": {"feature_names": ["age", "hours"]}},
    "data": {
        "orig": {"X": [[30.0, 40.0]], "class": [[0]]},
        "cf": {"X": [[30.0, 55.0]], "class": [[1]]},
    },
}
IMPORTANCES: dict[str, Any] = {
    "meta": {"name": "PermutationImportance"},
    "data": {
        "feature_names": ["age", "hours"],
        "metric_names": ["accuracy"],
        "feature_importance": [[{"mean": 1.5, "std": 0.1}, {"mean": 1.01, "std": 0.0}]],
    },
}
GRADIENTS: dict[str, Any] = {
    "meta": {"name": "IntegratedGradients"},
    "data": {"attributions": [[[0.5, -0.25]]], "X": [[1.0, 2.0]]},
}
CURVES: dict[str, Any] = {
    "meta": {"name": "ALE"},
    "data": {"ale_values": [[[0.0], [0.1]]], "feature_names": ["age"], "constant_value": 0.3},
}
KINDS = [ANCHOR, SHAPLEY, COUNTERFACTUAL, IMPORTANCES, GRADIENTS, CURVES]


class Text(HTMLParser):
    """The text that a person sees, and the names of the elements; refuses elements that do not match."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.text, self.tags, self._open = "", set[str](), list[str]()
        self.feed(document)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag not in ("br", "meta"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data + " "


@pytest.fixture(scope="module", autouse=True)
def _import_alibi() -> None:
    with warnings.catch_warnings():  # of alibi and its dependencies, about themselves
        warnings.simplefilter("ignore")
        import alibi.explainers  # noqa: F401


def by_name(explanation: dict[str, Any]) -> str:
    return str(explanation["meta"]["name"])


def test_the_text_the_dict_and_alibi_s_object_read_the_same() -> None:
    from alibi.api.interfaces import Explanation as AlibiExplanation

    readings = [
        Explanation(ANCHOR),
        Explanation(json.dumps(ANCHOR)),
        Explanation(AlibiExplanation(meta=ANCHOR["meta"], data=copy.deepcopy(ANCHOR["data"]))),
    ]
    assert [reading.html() for reading in readings] == [readings[0].html()] * 3
    assert all(reading.anchor == readings[0].anchor for reading in readings)


def test_a_real_anchor_is_read() -> None:
    from alibi.explainers import AnchorTabular

    rows = np.random.default_rng(0).random((200, 2))
    explainer = AnchorTabular(lambda x: (x[:, 0] > 0.5).astype(int), ["first", "second"], seed=0)
    explainer.fit(rows)
    explanation = Explanation(explainer.explain(rows[0]))
    assert explanation.anchor is not None
    assert "first" in explanation.anchor.rules[0]
    assert explanation.anchor.rules[0] in Text(explanation.html()).text


def test_real_shapley_values_are_read() -> None:
    pytest.importorskip("shap", reason="shap is not installed")
    from alibi.explainers import TreeShap
    from sklearn.ensemble import RandomForestClassifier

    rows = np.random.default_rng(0).random((60, 3))
    model = RandomForestClassifier(3, random_state=0).fit(rows, rows[:, 1] > 0.5)
    explainer = TreeShap(model, feature_names=["a", "b", "c"], task="classification")
    explainer.fit()
    first, second = Explanation(explainer.explain(rows[:2])).effects
    assert max(first.values, key=lambda name: abs(first.values[name])) == "b"
    predicted = int(model.predict(rows[:1])[0])
    probability = model.predict_proba(rows[:1])[0, predicted]
    assert first.base is not None
    assert first.base + sum(first.values.values()) == pytest.approx(probability)
    assert second.title.startswith("row 1")


def test_only_the_effects_on_the_predicted_class_are_shown() -> None:
    first, second = Explanation(SHAPLEY).effects
    assert (first.title, dict(first.values)) == ("row 0, output 1", {"age": -0.25, "hours": 0.5})
    assert (second.title, dict(second.values)) == ("row 1, output 0", {"age": 0.1, "hours": 0.2})


def changed(explanation: dict[str, Any], *path: str, to: Any) -> dict[str, Any]:
    copied = copy.deepcopy(explanation)
    place = copied
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = to
    return copied


def test_no_effect_is_lost_if_two_features_have_one_name() -> None:
    twice = changed(SHAPLEY, "data", "feature_names", to=["age", "age"])
    effects = Explanation(twice).effects[0]
    assert effects.values == {"age (feature 0)": -0.25, "age (feature 1)": 0.5}


@pytest.mark.parametrize("predicted", [[-1, 1], [2, 0], [0.5, 0]])
def test_a_prediction_that_is_not_the_position_of_an_output_chooses_none(predicted: Any) -> None:
    other = changed(SHAPLEY, "data", "raw", "prediction", to=predicted)
    assert [effects.title for effects in Explanation(other).effects] == [
        f"row {row}, output {output}" for row in range(2) for output in range(2)
    ]


@pytest.mark.parametrize(
    "odd",
    [
        changed(SHAPLEY, "meta", to=[1]),
        changed(SHAPLEY, "data", "raw", to="text"),
        changed(ANCHOR, "meta", "params", "threshold", to="0.95"),
        changed(ANCHOR, "data", "anchor", to=["half a pair \ud800"]),
    ],
)
def test_odd_parts_of_an_explanation_do_not_break_its_picture(odd: dict[str, Any]) -> None:
    document = html.picture(odd)
    assert Text(document).text
    document.encode()


def test_an_explanation_of_no_features_has_a_representation() -> None:
    none = changed(GRADIENTS, "data", "attributions", to=[[[]]])
    assert repr(Explanation(none)).startswith("<IntegratedGradients")


def test_a_counterfactual_stands_beside_its_original() -> None:
    seen = Text(Explanation(COUNTERFACTUAL).html()).text.split()
    assert " ".join(seen).endswith("age 30 30 hours 40 55 (changed) class 0 1")


@pytest.mark.parametrize("explanation", KINDS, ids=by_name)
def test_the_picture_is_html_without_scripts_that_loads_nothing(
    explanation: dict[str, Any],
) -> None:
    document = html.page("Shop", [explanation, explanation])
    seen = Text(document)
    assert not seen.tags & {"script", "link", "img", "iframe", "svg"}
    assert "http" not in document
    assert "url(" not in document


def test_names_cannot_bring_markup_into_the_picture() -> None:
    seen = Text(html.page("<script>", [ANCHOR]))
    assert "sex = <b>" in seen.text
    assert not seen.tags & {"b", "script"}


def test_an_anchor_below_the_threshold_says_so() -> None:
    assert "Less precise than the requested 0.95" in Explanation(ANCHOR).html()


def test_many_small_effects_are_added_up() -> None:
    names = [f"f{position}" for position in range(20)]
    data = {
        "shap_values": [[[1.0] * 12 + [0.5] * 8]],
        "expected_value": [0.0],
        "feature_names": names,
    }
    seen = Text(Explanation({"meta": {}, "data": data}).html()).text
    assert "8 further features" in seen
    assert "+4" in seen
    assert "f13" not in seen


def test_an_explanation_of_an_unknown_kind_shows_its_parts() -> None:
    seen = Text(Explanation({"data": {"prototypes": [[1, 2]], "note": "<i>"}}).html())
    assert "prototypes" in seen.text
    assert "<i>" in seen.text


def test_explanations_of_several_rows_are_read_together() -> None:
    assert [one.anchor for one in Explanation.many(json.dumps([ANCHOR, ANCHOR]))] == [
        Explanation(ANCHOR).anchor
    ] * 2
    assert len(Explanation.many(ANCHOR)) == 1


def test_several_explanations_are_not_taken_for_one() -> None:
    with pytest.raises(PayloadError, match=r"2 explanations; read them with Explanation.many"):
        Explanation([ANCHOR, ANCHOR])


@pytest.mark.parametrize("value", [3, None, "not JSON", {"data": 3}, b"{}"])
def test_another_value_is_refused(value: Any) -> None:
    with pytest.raises(PayloadError, match="is not an explanation"):
        Explanation(value)


def test_its_representation_names_the_explainer_and_the_main_result() -> None:
    assert repr(Explanation(ANCHOR)) == (
        "<AnchorTabular anchor: age <= 30 and sex = <b>; precision: 0.900; coverage: 25.0%>"
    )
    assert repr(Explanation(SHAPLEY)) == "<KernelShap largest effect: hours +0.5>"


_TEXT = st.text(max_size=4)
_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_KEYS = ("anchor", "precision", "coverage", "shap_values", "expected_value", "cf", "orig", "PN")


@given(st.dictionaries(st.sampled_from([*_KEYS, "attributions", "feature_importance"]), _JSON))
def test_any_data_can_be_shown(data: dict[str, Any]) -> None:
    explanation = Explanation({"meta": {}, "data": data})
    Text(explanation.html())
    repr(explanation)


@pytest.mark.parametrize(
    ("explanation", "bars"),
    [
        (ANCHOR, {"precision": 0.9, "coverage": 0.25}),
        (SHAPLEY, {"hours": 0.5, "age": -0.25}),
        (COUNTERFACTUAL, {"hours": 15.0}),
        (IMPORTANCES, {"age": 1.5, "hours": 1.01}),
    ],
    ids=lambda value: by_name(value) if "meta" in value else "",
)
def test_a_plot_has_a_bar_for_each_part(
    explanation: dict[str, Any], bars: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed").use("agg")
    from matplotlib import pyplot

    try:
        axes = Explanation(explanation).plot()
        widths = [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert dict(zip(names, widths)) == bars
        assert names == list(bars)[::-1]  # the first at the top
    finally:
        pyplot.close("all")


def test_a_plot_can_be_drawn_on_given_axes() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed").use("agg")
    from matplotlib import pyplot

    try:
        _, axes = pyplot.subplots()
        assert Explanation(ANCHOR).plot(axes) is axes
    finally:
        pyplot.close("all")


def test_a_kind_without_a_plot_is_refused() -> None:
    with pytest.raises(PayloadError, match="has no plot"):
        Explanation(CURVES).plot()


def test_a_plot_without_matplotlib_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(SettingsError, match="pip install matplotlib"):
        Explanation(ANCHOR).plot()
