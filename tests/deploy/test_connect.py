"""`connect` gives a client of a model that something else has deployed."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from tempo_runtime import (
    ChildNotFound,
    ChildUnavailable,
    DeploymentFailed,
    LocalOptions,
    PayloadError,
    SeldonCoreOptions,
    connect,
    deploy_local,
    model,
    save,
)
from tempo_runtime.testing import FakeModel, Server, serve
from tests.helpers import pipelines


@model("scaled")
def scaled(rows: np.ndarray, factor: float = 2.0) -> np.ndarray:
    return rows * factor


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("models")
    save(scaled, str(root / "scaled"))
    return str(root)


@pytest.fixture(scope="module")
def server(artifacts: str) -> Iterator[Server]:
    with serve(artifacts) as server:
        yield server


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("two")
    save(scaled, str(root / "scaled"))
    save(pipelines.bill, str(root / "bill"))
    with serve(root) as server:
        yield server


def grpc_url(server: Server) -> str:
    return f"grpc://{server.grpc}/scaled"


def test_the_url_of_a_model_is_called_over_http_and_grpc(server: Server) -> None:
    for url in (f"{server.url}/v2/models/scaled", grpc_url(server)):
        with connect(url) as remote:
            assert remote.predict(np.array([1.0]), factor=3.0).tolist() == [3.0]


async def test_it_is_called_from_coroutines(server: Server) -> None:
    with connect(f"{server.url}/v2/models/scaled") as remote:
        assert (await remote.aio.predict(np.array([1.0]))).tolist() == [2.0]


def test_the_url_of_a_server_with_one_pipeline_is_enough(server: Server) -> None:
    with connect(server.url) as remote:
        assert remote.details.name == "scaled"
        assert remote(rows=np.array([2.0])).tolist() == [4.0]


def test_a_server_with_several_pipelines_names_them(two: Server) -> None:
    with pytest.raises(
        DeploymentFailed, match=r"has the models (bill, scaled|scaled, bill); write"
    ):
        connect(two.url)


def test_its_signature_is_what_the_server_states(server: Server) -> None:
    remote = connect(server.url)
    parameters = inspect.signature(remote).parameters
    assert list(parameters) == ["rows", "factor"]
    assert parameters["rows"].default is inspect.Parameter.empty
    assert parameters["factor"].default is None
    assert "factor" in repr(remote)


def test_a_wrong_argument_is_refused_by_name(server: Server) -> None:
    with connect(server.url) as remote, pytest.raises(PayloadError, match="did you mean 'factor'"):
        remote.predict(np.array([1.0]), faktor=3.0)


def test_it_does_not_undeploy_what_others_have_deployed(server: Server) -> None:
    with connect(server.url) as remote:
        with pytest.raises(
            DeploymentFailed, match="was deployed by something else; undeploy it there"
        ):
            remote.undeploy()
        with pytest.raises(DeploymentFailed, match="its logs are there"):
            remote.logs()
    assert [status.state for status in connect(server.url).status()] == ["ready"]


def test_a_deployment_of_another_process_is_found_by_its_name_and_stays(artifacts: str) -> None:
    code = (
        "from tempo_runtime import connect\n"
        "import numpy as np\n"
        "with connect('scaled') as remote:\n"
        "    print(remote.predict(np.array([4.0])).tolist())\n"
    )
    with deploy_local(f"{artifacts}/scaled") as deployed:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == "[8.0]", done.stderr
        assert deployed.predict(np.array([1.0])).tolist() == [2.0]


def test_a_model_that_is_not_a_pipeline_is_called_with_arrays() -> None:
    with FakeModel("double", lambda x: 2 * x) as fake:
        assert connect(f"{fake.url}/v2/models/double").predict(np.array([1.5])).tolist() == [3.0]


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_model_that_is_not_there_is_reported_at_once(server: Server, scheme: str) -> None:
    url = f"{server.url}/v2/models/none" if scheme == "http" else f"grpc://{server.grpc}/none"
    with pytest.raises(ChildNotFound, match="none"):
        connect(url)


def test_a_server_that_is_not_there_is_reported_at_once() -> None:
    with pytest.raises(ChildUnavailable):
        connect("http://127.0.0.1:9/v2/models/scaled")
    with pytest.raises(DeploymentFailed, match="does not list its models"):
        connect("http://127.0.0.1:9")


def test_an_unknown_name_lists_what_is_deployed() -> None:
    with pytest.raises(DeploymentFailed, match="there is no deployment 'none'"):
        connect("none")


def test_it_can_be_pickled_and_still_does_not_undeploy(server: Server) -> None:
    again = pickle.loads(pickle.dumps(connect(server.url)))
    with again:
        assert again.predict(np.array([1.0])).tolist() == [2.0]
        with pytest.raises(DeploymentFailed, match="was deployed by something else"):
            again.undeploy()
    assert [status.state for status in again.status()] == ["ready"]


def test_headers_do_not_go_into_a_pickle(server: Server) -> None:
    remote = connect(f"{server.url}/v2/models/scaled", headers={"authorization": "Bearer secret"})
    with pytest.raises(
        DeploymentFailed, match="which may be secret, so the client cannot be pickled"
    ):
        pickle.dumps(remote)


def test_a_notebook_shows_its_models_and_their_state(server: Server) -> None:
    shown = connect(server.url)._repr_html_()
    assert '<th>scaled</th><td class="good">ready</td>' in shown
    assert server.url in shown
    assert "<RemoteModel" not in shown  # escaped


@pytest.mark.parametrize("name", ["my_model", "Iris.v2"])
def test_a_model_may_have_any_name_and_inputs_of_any_name(name: str) -> None:
    inputs = [{"name": "input-0", "datatype": "FP64", "shape": [-1], "parameters": {}}]
    with FakeModel(name, lambda x: 2 * x) as fake:
        fake.metadata["inputs"] = inputs
        remote = connect(f"{fake.url}/v2/models/{name}")
        assert remote.predict(np.array([1.5])).tolist() == [3.0]
        assert name in repr(remote)
        assert name in remote._repr_html_()


def test_a_model_of_triton_is_called_as_triton_is() -> None:
    with FakeModel("net", lambda x: x) as fake:
        fake.metadata["platform"] = "onnxruntime_onnx"
        assert connect(f"{fake.url}/v2/models/net").details.served_by_triton


def test_arguments_that_do_not_go_with_the_target_are_refused() -> None:
    with pytest.raises(DeploymentFailed, match="headers are for a URL"):
        connect("shop", headers={"authorization": "Bearer secret"})
    with pytest.raises(DeploymentFailed, match="options are for the name of a deployment"):
        connect("http://127.0.0.1:9", SeldonCoreOptions())


@pytest.mark.parametrize("url", ["http://", "http://ada:hunter2@127.0.0.1:9"])
def test_the_url_of_a_server_is_checked_and_a_password_is_not_shown(url: str) -> None:
    with pytest.raises(PayloadError, match="without a user or a password") as caught:
        connect(url)
    assert "hunter2" not in str(caught.value)


def test_a_pickled_client_of_a_deployment_that_is_gone_says_so(artifacts: str) -> None:
    deployed = deploy_local(f"{artifacts}/scaled", LocalOptions(name="gone"))
    with pickle.loads(pickle.dumps(deployed)) as again:
        deployed.undeploy()
        assert (again.deployment.up, again.status()) == (False, [])
        again.undeploy()  # as a second call of the original does
