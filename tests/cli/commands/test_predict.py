"""`tempo-runtime predict`: an artifact in this process, and a model on a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tempo_runtime import model, save
from tempo_runtime.testing import FakeModel, Server, serve
from tests.helpers import pipelines
from tests.helpers.command_line import run

SERVED = (pipelines.double, pipelines.frames, pipelines.broken, pipelines.waiter)


@model("positive")
def positive(x: np.ndarray) -> np.ndarray:
    if (x < 0).any():
        raise ValueError("a number is negative")
    return x


@model("chatty")
def chatty(x: int) -> int:
    print("working")
    return x + 1


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("artifacts")
    for target in (*SERVED, positive, chatty, pipelines.bill, pipelines.SyncParent):
        save(target, str(root / target.get_tempo().details.name))
    return root


@pytest.fixture(scope="module")
def server(artifacts: Path) -> Iterator[Server]:
    names = [target.get_tempo().details.name for target in (*SERVED, positive)]
    with serve(*(artifacts / name for name in names)) as server:
        yield server


@pytest.fixture(params=["in this process", "http", "grpc"])
def at(request: pytest.FixtureRequest, artifacts: Path):
    """Where a model is, each way it can be called."""
    if request.param == "in this process":
        return lambda name: str(artifacts / name)
    server: Server = request.getfixturevalue("server")
    if request.param == "grpc":
        return lambda name: f"grpc://{server.grpc}/{name}"
    return lambda name: f"{server.url}/v2/models/{name}"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n3,4\n5,6\n")
    return path


def test_a_csv_of_whole_numbers_is_a_tensor_of_them(at, rows: Path) -> None:
    code, printed, _ = run("predict", at("double"), rows, "--json")
    assert code == 0
    [output] = json.loads(printed)["outputs"]
    assert (output["datatype"], output["shape"]) == ("INT64", [3, 2])
    assert output["data"] == [2, 4, 6, 8, 10, 12]


def test_values_are_shown_as_json(at, rows: Path) -> None:
    assert run("predict", at("double"), rows)[:2] == (0, "[[2, 4], [6, 8], [10, 12]]\n")


def test_json_comes_on_standard_input(at) -> None:
    stdin = '{"x": [[1.5, null]]}'
    assert run("predict", at("double"), stdin=stdin)[:2] == (0, "[[3.0, null]]\n")
    assert run("predict", at("double"), "-", stdin="[1]")[:2] == (0, "[2]\n")


def test_a_v2_request_goes_as_it_stands(at, tmp_path: Path) -> None:
    tensor = {"name": "x", "shape": [1], "datatype": "INT32", "data": [7]}
    (tmp_path / "request.json").write_text(json.dumps({"inputs": [tensor]}))
    code, printed, _ = run("predict", at("double"), tmp_path / "request.json", "--json")
    assert code == 0
    assert json.loads(printed)["outputs"][0]["datatype"] == "INT32"


def test_a_table_goes_with_small_arguments_and_comes_back_as_one(at, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("n,t\n1,a\n2,\n")
    code, _, _ = run(
        *("predict", at("frames"), tmp_path / "in.csv"),
        *("--arg", "factor=3", "-o", tmp_path / "out.csv"),
    )
    assert code == 0
    assert (tmp_path / "out.csv").read_text() == "n,t\n3,a\n6,\n"


def test_batches_together_are_the_whole(at, tmp_path: Path) -> None:
    array = np.arange(46).reshape(23, 2)
    np.save(tmp_path / "in.npy", array)
    code, printed, told = run(
        *("predict", at("double"), tmp_path / "in.npy"),
        *("--batch", 5, "--concurrency", 3, "-o", tmp_path / "out.npy"),
    )
    assert (code, printed) == (0, "")
    assert told == ""  # where nobody looks at a bar
    assert np.array_equal(np.load(tmp_path / "out.npy"), array * 2)


def test_an_error_in_a_batch_names_its_rows_and_writes_nothing(at, tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.array([1, 2, 3, 4, -5, 6]))
    code, _, told = run(
        "predict", at("positive"), tmp_path / "in.npy", "--batch", 2, "-o", tmp_path / "out.csv"
    )
    assert code == 1
    assert told.startswith("Error: rows 4 to 5: ")
    assert "a number is negative" in told
    assert not (tmp_path / "out.csv").exists()


def test_batches_as_a_response_are_one_response(at, rows: Path) -> None:
    code, printed, _ = run("predict", at("double"), rows, "--batch", 2, "--json")
    assert code == 0
    [output] = json.loads(printed)["outputs"]
    assert (output["shape"], output["data"]) == ([3, 2], [2, 4, 6, 8, 10, 12])


def test_an_exception_of_a_pipeline_is_one_line(at) -> None:
    code, printed, told = run("predict", at("broken"), "--arg", "kind=value")
    assert (code, printed, told.count("\n")) == (1, "", 1)
    assert "raised ValueError: this is wrong" in told


def test_arguments_that_do_not_fit_are_refused_by_name(at) -> None:
    code, _, told = run("predict", at("double"), stdin='{"y": [1]}')
    assert (code, told) == (1, "Error: tensor 'y' is unknown; expected: x\n")


def test_a_late_answer_is_reported(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "gate"
    url = f"{server.url}/v2/models/waiter"
    code, _, told = run("predict", url, "--arg", f"path={path}", "--timeout", 0.2)
    path.touch()
    assert code == 1
    assert f"model 'waiter' at {url}/infer did not answer" in told


def test_a_server_s_error_comes_with_its_status_and_url(server: Server) -> None:
    url = f"{server.url}/v2/models/broken"
    _, _, told = run("predict", url, "--arg", "kind=value")
    assert told.startswith(f"Error: model 'broken' at {url}/infer answered 500: pipeline 'broken'")


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("http://127.0.0.1:1/v2/models/x", "model 'x' cannot be reached at http://127.0.0.1:1/"),
        ("grpc://127.0.0.1:1/x", "model 'x' cannot be reached at grpc://127.0.0.1:1"),
        ("http://127.0.0.1:1", "names no model; write http://HOST:PORT/v2/models/NAME"),
        ("http://me:secret@127.0.0.1:1/x", "must not contain a password"),
        ("ftp://127.0.0.1:1/x", "names no model"),
    ],
)
def test_a_url_that_cannot_be_called_is_reported(target: str, told: str) -> None:
    code, _, said = run("predict", target, stdin="[1]")
    assert (code, said.count("\n")) == (1, 1)
    assert told in said
    assert "secret" not in said


def test_an_unknown_model_of_a_server_is_reported(server: Server) -> None:
    for target in (f"{server.url}/v2/models/nope", f"grpc://{server.grpc}/nope"):
        code, _, told = run("predict", target, stdin="[1]")
        assert code == 1
        assert told.startswith("Error: model 'nope' was not found at ")


def test_a_server_without_metadata_gets_arrays(rows: Path) -> None:
    with FakeModel("iris", answer=lambda x: x[:, 0]) as fake:
        code, printed, _ = run("predict", f"{fake.url}/iris", rows, "-H", "authorization: me")
        assert (code, printed) == (0, "[1, 3, 5]\n")
        assert fake.calls[-1].inputs["input-0"].dtype == np.int64
        assert fake.calls[-1].headers["authorization"] == "me"


def test_children_are_where_the_environment_says(
    artifacts: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPO_RUNTIME_MODELS__DOUBLE__URL", server.url)
    assert run("predict", artifacts / "sync-parent", stdin="[1]")[:2] == (0, "[3]\n")


def test_text_that_a_pipeline_prints_is_not_part_of_the_result(artifacts: Path) -> None:
    assert run("predict", artifacts / "chatty", "--arg", "x=1") == (0, "2\n", "working\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no/where"], "there is no folder 'no/where', and it is not a URL"),
        (["http://x/y", "nowhere.csv"], "'nowhere.csv' does not exist"),
        (["http://x/y", "--batch", "0"], "--batch"),
        (["http://x/y", "--json", "-o", "out.json"], "--json is for standard output"),
    ],
)
def test_a_command_that_cannot_be_right_exits_with_2(arguments: list[str], told: str) -> None:
    code, _, said = run("predict", *arguments)
    assert code == 2
    assert told in said


def test_an_output_that_could_not_be_written_is_refused_before_the_call() -> None:
    code, _, told = run("predict", "http://127.0.0.1:1/x", "-o", "out.txt", stdin="[1]")
    assert code == 1
    assert "must end with one of .json, .csv, .npy, .parquet" in told


def test_batches_of_rows_that_could_be_several_are_refused(tmp_path: Path) -> None:
    with FakeModel("iris") as fake:
        code, _, told = run(
            "predict", f"{fake.url}/iris", "--arg", "a=[1, 2]", "--arg", "b=[1]", "--batch", 1
        )
    assert (code, fake.calls) == (1, [])
    assert "give that argument as INPUT" in told


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_stream_that_fails_says_why(
    scheme: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, which would show the progress of a stream
    base = server.url if scheme == "http" else f"grpc://{server.grpc}"
    code, _, told = run("explain", f"{base}/broken", "--arg", "kind=value")
    assert code == 1
    assert f"model 'broken' at {base}" in told
    assert "answered 500: pipeline 'broken': its function raised ValueError" in told
