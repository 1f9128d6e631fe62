"""Each cause that keeps a model from being ready is told, and by every way of asking in the same words."""

from __future__ import annotations

import pytest

from tempo_runtime.testing import FakeModel
from tests.deploy.cluster.api_server import ApiServer
from tests.deploy.cluster.causes import STAGES, Cause, Stage, play

PACE = 0.01


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        pytest.param(kind, cause, id=f"{name}: {cause.name}")
        for name, (kind, causes) in STAGES.items()
        for cause in causes
    ],
)
def test_a_cause_is_told_with_what_helps(
    kind: type[Stage], cause: Cause, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = kind(api)
    with FakeModel("plus") as fake:
        api.services[stage.service] = fake.url
        told = play(cause, stage, PACE, monkeypatch)
    assert cause.told in told.error
    if cause.name == "Service without an address":  # the model is ready, and is called another way
        return
    assert f"plus has failed: {told.status};" in told.error or cause.waited
    assert f"plus is not ready after 0.8 seconds: {told.status};" in told.error or not cause.waited
    assert told.model == told.status
    state = "is not ready after 0.3 seconds" if cause.waited else "has failed"
    assert told.wait == f"plus {state}: {told.status}"
