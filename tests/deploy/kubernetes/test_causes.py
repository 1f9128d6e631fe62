"""Each cause that keeps a model from being ready is reported, in the same words everywhere."""

from __future__ import annotations

import pytest

from tempo_runtime.testing import FakeModel
from tests.deploy.kubernetes.api_server import ApiServer
from tests.deploy.kubernetes.causes import STAGES, TIMEOUT, Cause, Stage, play

PACE = 0.002


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        pytest.param(kind, cause, id=f"{name}: {cause.name}")
        for name, (kind, causes) in STAGES.items()
        for cause in causes
    ],
)
def test_a_cause_is_reported_with_its_remedy(
    kind: type[Stage], cause: Cause, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = kind(api)
    with FakeModel("plus") as fake:
        api.services[stage.service] = fake.url
        told = play(cause, stage, PACE, monkeypatch)
    assert cause.told in told.error
    if cause.name == "Service without an address":  # the model is ready, and is called another way
        return
    state = f"is not ready after {TIMEOUT} seconds" if cause.waited else "has failed"
    assert told.wait == f"plus {state}: {told.status}"
    assert told.error.startswith(f"{told.wait}; applied so far: ")
    assert told.model == told.status
