"""The Grafana dashboard and the Prometheus alerts, against the metrics that exist."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY

from tempo_runtime.request import metrics
from tempo_runtime.request.metrics import (
    BatchMetrics,
    ChildMetrics,
    InsightsMetrics,
    PipelineMetrics,
    StateMetrics,
)

ROOT = Path(__file__).parents[1]
DASHBOARD = json.loads((ROOT / "k8s/monitoring/grafana-dashboard.json").read_text())
ALERTS = [
    rule
    for group in yaml.safe_load((ROOT / "k8s/monitoring/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
_INTERVAL = "5m"  # in the place of Grafana's variable


def _queries() -> list[Any]:
    of_panels = [
        (panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]
    ]
    of_alerts = [(rule["alert"], rule["expr"]) for rule in ALERTS]
    return [
        pytest.param(query.replace("$__rate_interval", _INTERVAL), id=f"{title}-{number}")
        for number, (title, query) in enumerate([*of_panels, *of_alerts])
    ]


@pytest.fixture(scope="module")
def samples() -> dict[str, set[str]]:
    """The labels of each of our metrics, by the name that a query uses."""
    PipelineMetrics("watched").waiting(0)
    with PipelineMetrics("watched").call():
        pass
    child = ChildMetrics("watched", "watched-child")
    child.breaker_is("http://forest", 0)
    with child.call():
        pass
    for batches in (BatchMetrics("watched"), BatchMetrics("watched", "watched-child")):
        batches.sent(1, 1)
        batches.waited(0)
    state = StateMetrics("watched")
    state.breaker_is(0)
    with state.call("get"):
        pass
    insights = InsightsMetrics("watched")
    insights.sent(1)
    insights.dropped("queue full", 1)
    insights.waiting(0, 0)
    return {
        sample.name: set(sample.labels)
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name.startswith("tempo_") and not sample.name.endswith("_created")
    }


def selectors(expression: Any) -> Iterator[Any]:
    """Yield the selectors of a parsed query."""
    found: list[Any] = []
    promql_parser.walk(
        expression,
        lambda part: found.append(part) if type(part).__name__ == "VectorSelector" else None,
    )
    yield from found


@pytest.mark.parametrize("query", _queries())
def test_a_query_is_valid_and_asks_for_labels_that_its_metrics_have(
    query: str, samples: dict[str, set[str]]
) -> None:
    asked = list(selectors(promql_parser.parse(query)))
    assert asked
    labels = set[str]()
    for selector in asked:
        assert selector.name in samples
        labels |= samples[selector.name]
        for matcher in selector.matchers.matchers:
            assert matcher.name in samples[selector.name]
    grouped = {
        name.strip()
        for names in re.findall(r"(?:by|on) \(([^)]*)\)", query)
        for name in names.split(",")
    }
    assert grouped <= labels | {"instance", "le"}


def test_the_tests_know_every_class_of_metrics() -> None:
    known = {BatchMetrics, ChildMetrics, InsightsMetrics, PipelineMetrics, StateMetrics}
    assert {
        part for name, part in vars(metrics).items() if name.endswith("Metrics") and "_" not in name
    } == known


def test_every_metric_is_on_the_dashboard(samples: dict[str, set[str]]) -> None:
    queries = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    parts = re.compile(r"_(bucket|count|sum)$")
    missing = {parts.sub("", name) for name in samples} - {
        parts.sub("", name) for name in re.findall(r"tempo_\w+", queries)
    }
    assert missing == set()


def test_every_legend_names_labels_of_its_query() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert named
            assert all(re.search(rf"\b{label}\b", target["expr"]) for label in named), panel[
                "title"
            ]


def test_panels_have_a_description_and_a_unit() -> None:
    for panel in PANELS:
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_panels_do_not_overlap() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)
    for one, other in itertools.combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    documented = (ROOT / "docs/monitoring.md").read_text()
    assert f"`{rule['alert']}`" in documented


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_s_text_names_labels_of_its_query(rule: dict[str, Any]) -> None:
    text = " ".join(rule["annotations"].values())
    for label in re.findall(r"\$labels\.(\w+)", text):
        assert re.search(rf"\b{label}\b", rule["expr"])
