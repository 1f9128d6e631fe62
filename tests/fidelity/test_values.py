"""One answer on every route: what a value is where it arrives, or the words that refuse it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings

from tempo_runtime.errors import TempoError
from tests.fidelity import kinds
from tests.fidelity.anything import any_value
from tests.fidelity.identity import identity
from tests.fidelity.routes import Route, all_routes, expected
from tests.fidelity.values import VALUES

pytestmark = pytest.mark.timeout(300)
_WHOSE = re.compile(r"^cannot send the arguments of child '\w+': ")
_DECLARES = "returned a result that cannot be sent: "


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Route]]:
    with all_routes(tmp_path_factory.mktemp("artifacts")) as found:
        yield found


def outcomes(routes: dict[str, Route], way: str, case: str) -> dict[str, str]:
    found = {}
    for name, route in routes.items():
        try:
            found[name] = getattr(route, way)(case)
        except TempoError as error:
            found[name] = f"refused: {error}"
        except Exception as error:
            found[name] = f"failed: {error!r}"
    return found


@pytest.mark.parametrize("way", ["send", "fetch"])
@pytest.mark.parametrize("case", [case for case, row in VALUES.items() if row.refused is None])
def test_a_value_arrives_the_same_on_every_route(
    routes: dict[str, Route], case: str, way: str
) -> None:
    found = outcomes(routes, way, case)
    assert found == dict.fromkeys(routes, expected(VALUES[case]))


@pytest.mark.parametrize("way", ["send", "fetch"])
@pytest.mark.parametrize("case", [case for case, row in VALUES.items() if row.refused])
def test_a_value_is_refused_in_the_same_words_on_every_route(
    routes: dict[str, Route], case: str, way: str
) -> None:
    found = outcomes(routes, way, case)
    words = found["direct"].removeprefix("refused: ").partition(_DECLARES)
    said = words[2] or words[0]
    assert re.search(str(VALUES[case].refused), said), found
    strangers = {name: outcome for name, outcome in found.items() if said not in outcome}
    assert not strangers, found


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(any_value)
@example(("Order", kinds.Order(items=[], extra={"": Fraction(0)})))  # refused, over every route
def test_any_value_arrives_on_every_route_or_is_refused_on_all(
    routes: dict[str, Route], given_value: tuple[str, Any]
) -> None:
    hint, value = given_value
    found = {}
    for name, route in routes.items():
        if route.give is None:
            continue
        try:
            found[name] = route.give(hint, value)
        except TempoError as error:
            # A caller of a child also says which child's arguments they are.
            found[name] = f"refused: {_WHOSE.sub('', str(error), count=1)}"
    said = found["direct"]
    assert said.startswith("refused: ") or said == identity(value)
    assert found == dict.fromkeys(found, said)
