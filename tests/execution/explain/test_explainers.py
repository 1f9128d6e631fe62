"""The explainers of `examples/explainers`: in a server as alone, whatever runs beside them."""

from __future__ import annotations

import importlib
import importlib.util
import json
import warnings
from collections import namedtuple
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tempo_runtime.execution.explain.isolation import declared_seed, isolated, per_request
from tempo_runtime.execution.explain.randomness import stream
from tempo_runtime.protocol.binding import encode_arguments
from tempo_runtime.protocol.messages import Request, request_to_json
from tempo_runtime.testing import Server, serve
from tests.helpers.command_line import run
from tests.helpers.examples import blocks

pytestmark = pytest.mark.filterwarnings(
    # of alibi, shap and what they use, about themselves
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::RuntimeWarning",
    # scikit-learn takes the process's filters, which another thread's `catch_warnings` may have emptied.
    "ignore:.sklearn.utils.parallel.delayed. should be used:UserWarning",
)

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
SEED = 5
AT_ONCE = 8
TEXTS = (
    "a good film with a warm heart and awful music",
    "bad actors tell a lovely story",
    "the best year of a weak film",
    "boring from start to end",
    "I would see the worst film of the year again",
    "a great cast and cold music",
    "good and bad and good again",
    "funny, warm, lovely: awful!",
)


@dataclass(frozen=True)
class Case:
    """One module of the example.

    Attributes:
        module: Its name.
        served: The name its pipeline is served under.
        asked: Gives the arguments of one of several requests.
        method: What it asks its child for; nothing, where it holds the model itself.
        child: Its child, the name the pipeline has for it too.
        needs: A package that it needs.
    """

    module: str
    served: str
    asked: Callable[[int], dict[str, Any]]
    method: str | None = "predict_proba"
    child: str = "iris"
    needs: str = "alibi"


@cache
def iris() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_iris

    rows, species = load_iris(return_X_y=True)
    return rows, species


def some(number: int, step: int = 8) -> np.ndarray:
    """Rows of a request: others for each number."""
    return iris()[0][number::step]


CASES = (
    Case(
        "anchor_text",
        "review-anchors",
        lambda n: {"text": TEXTS[n], "parameters": {"threshold": 0.8 + n / 50}},
        method="predict",
        child="reviews",
    ),
    Case(
        "kernel_shap",
        "iris-kernel-shap",
        lambda n: {"rows": some(n, 75), "parameters": {"nsamples": 8 + n % 2}},
        needs="shap",
    ),
    Case(
        "tree_shap",
        "iris-tree-shap",
        lambda n: {"rows": some(n), "parameters": {"interactions": bool(n % 2)}},
        method=None,
        needs="shap",
    ),
    Case(
        "ale",
        "iris-ale",
        lambda n: {"rows": some(n), "parameters": {"min_bin_points": 1 + n}},
    ),
    Case(
        "partial_dependence",
        "iris-partial-dependence",
        lambda n: {"rows": some(n), "parameters": {"grid_resolution": 2 + n}},
    ),
    Case(
        "permutation_importance",
        "iris-permutation-importance",
        lambda n: {
            "rows": some(n, 3),
            "species": iris()[1][n::3],
            "parameters": {"n_repeats": 2 + n},
        },
        method="predict",
    ),
)


@dataclass
class Example:
    """The trained example.

    Attributes:
        folder: Holds the artifacts.
        models: The models that are explained, as scikit-learn has them.
    """

    folder: Path
    models: dict[str, Any]

    def artifact(self, case: Case) -> Path:
        return self.folder / case.module.replace("_", "-")

    def explainer(self, case: Case) -> Any:
        """A case's explainer as alibi has it, with the model in the same process."""
        import dill

        explainer = dill.loads((self.artifact(case) / "explainer.dill").read_bytes())
        if case.method is not None:
            give_predictor(explainer, getattr(self.models[case.child], case.method))
        return explainer

    def alone(self, case: Case, number: int) -> Any:
        """Return alibi's own explanation for a request, after `np.random.seed`."""
        np.random.seed(SEED)
        return explained(self.explainer(case), case, number)


def give_predictor(explainer: Any, predictor: Any) -> None:
    explainer.predictor = predictor
    if type(explainer).__name__ == "KernelShap":
        explainer._explainer.model.f = predictor


def explained(explainer: Any, case: Case, number: int) -> Any:
    asked = case.asked(number)
    options = dict(asked.pop("parameters"))
    if case.module == "kernel_shap":
        options["silent"] = True
    return json.loads(explainer.explain(*asked.values(), **options).to_json())


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    folder = tmp_path_factory.mktemp("explainers")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("EXPLAINERS_ARTIFACTS", str(folder))
        patch.syspath_prepend(EXAMPLES)
        models = importlib.import_module("explainers.models")
        trained = {"iris": models.train_iris(), "reviews": models.train_reviews()}
        for case in CASES:
            if importlib.util.find_spec(case.needs):
                importlib.import_module(f"explainers.{case.module}").train(**trained)
        yield Example(folder, trained)


@pytest.fixture(scope="module")
def server(example: Example, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Each pipeline twice: its child over HTTP, as it is saved, and in the same process."""
    folder = tmp_path_factory.mktemp("in-process")
    for case in CASES:
        saved = example.artifact(case) / "model-settings.json"
        if saved.is_file():
            settings = json.loads(saved.read_text())
            settings["name"] += "-in-process"
            settings["parameters"]["uri"] = str(saved.parent)
            for child in settings["parameters"]["extra"]["models"].values():
                child["transport"] = "in_process"
            (folder / case.module).mkdir()
            (folder / case.module / saved.name).write_text(json.dumps(settings))
    environment = {"TEMPO_RUNTIME_MAX_CONCURRENCY": str(AT_ONCE)}
    with serve(example.folder, folder, env=environment) as running:
        yield running


@pytest.fixture(params=CASES, ids=lambda case: case.module)
def case(request: pytest.FixtureRequest) -> Case:
    """Each explainer."""
    found: Case = request.param
    pytest.importorskip(found.needs, reason=f"{found.needs} is not installed")
    return found


@pytest.fixture(params=["", "-in-process"], ids=["over HTTP", "in process"])
def where(request: pytest.FixtureRequest) -> str:
    """Each way to the child."""
    return str(request.param)


def ask(server: Server, case: Case, where: str, number: int) -> Any:
    tensors = encode_arguments(None, (), case.asked(number))
    body = request_to_json(Request(tensors, parameters={"tempo_seed": SEED}))
    answer = server.post(case.served + where, body)
    assert answer.status_code == 200, answer.text
    return json.loads(answer.json()["outputs"][0]["data"][0])


def test_the_readme_shows_the_graph_of_one(example: Example) -> None:
    status, graph, _ = run("graph", example.artifact(CASES[0]), "--format", "mermaid")
    assert status == 0
    assert [graph] == blocks("explainers", "mermaid")


# -- served ----------------------------------------------------------------------------------------


def test_a_served_explanation_is_the_one_alibi_gives_alone(
    case: Case, where: str, example: Example, server: Server
) -> None:
    assert ask(server, case, where, 0) == example.alone(case, 0)


def test_requests_at_once_each_get_their_own_explanation(
    case: Case, where: str, example: Example, server: Server
) -> None:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        found = list(threads.map(lambda n: ask(server, case, where, n), range(AT_ONCE)))
    assert found == [example.alone(case, number) for number in range(AT_ONCE)]


def test_a_request_that_is_repeated_gets_the_same_explanation(
    case: Case, where: str, server: Server
) -> None:
    assert ask(server, case, where, 1) == ask(server, case, where, 1)


def test_rows_of_another_width_are_refused_and_the_server_stays(
    case: Case, example: Example, server: Server
) -> None:
    if "rows" not in case.asked(0):
        pytest.skip("its request has no rows")
    for width in (2, 9):
        asked = {**case.asked(0), "rows": np.ones((2, width))}
        body = request_to_json(Request(encode_arguments(None, (), asked)))
        assert server.post(case.served, body).status_code == 422
    assert ask(server, case, "", 0) == example.alone(case, 0)


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["http", "in_process"])
def test_counterfactuals_at_once_do_not_mix(transport: str, example: Example) -> None:
    pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    models = importlib.import_module("explainers.models")
    models.train_slopes()
    artifact = importlib.import_module("explainers.counterfactual").train()
    environment = {
        "TEMPO_RUNTIME_MODELS__SLOPES__TRANSPORT": transport,
        "TEMPO_RUNTIME_MAX_CONCURRENCY": str(AT_ONCE),
    }
    rows = [iris()[0][number : number + 1] for number in (0, 60, 110)]
    with serve(artifact, models.store.folder("iris-slopes"), env=environment) as running:

        def counterfactual(row: np.ndarray) -> Any:
            return json.loads(running.infer("iris-counterfactual", row=row))["data"]["cf"]

        alone = [counterfactual(row) for row in rows]
        assert all(alone)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            assert list(threads.map(counterfactual, rows * 2)) == alone * 2


# -- copies ----------------------------------------------------------------------------------------


def test_copies_that_explain_at_once_do_not_mix(case: Case, example: Example) -> None:
    shared = example.explainer(case)

    def one(number: int) -> Any:
        with stream(SEED):
            return explained(isolated(shared), case, number % AT_ONCE)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        found = list(threads.map(one, range(2 * AT_ONCE)))
    assert found == [example.alone(case, number) for number in range(AT_ONCE)] * 2


@pytest.mark.parametrize("make", ["variance", "trees", "image"])
def test_copies_of_explainers_without_an_example_do_not_mix_either(
    make: str, example: Example
) -> None:
    shared, explain = others(make, example.models["iris"])
    before = snapshot(shared)

    def one(number: int) -> Any:
        with stream(SEED):
            return json.loads(explain(isolated(shared), number).to_json())

    with ThreadPoolExecutor(AT_ONCE) as threads:
        found = list(threads.map(one, range(AT_ONCE)))
    assert snapshot(shared) == before
    alone = []
    for number in range(AT_ONCE):
        np.random.seed(SEED)
        alone.append(json.loads(explain(shared, number).to_json()))
    assert found == alone


def others(make: str, forest: Any) -> tuple[Any, Callable[[Any, int], Any]]:
    """An explainer, and what asks it for one of several explanations."""
    from alibi.explainers import AnchorImage, PartialDependenceVariance, TreePartialDependence
    from sklearn.tree import DecisionTreeRegressor

    def grids(explainer: Any, number: int) -> Any:
        return explainer.explain(some(number), grid_resolution=2 + number)

    if make == "variance":
        return PartialDependenceVariance(forest.predict_proba), grids
    if make == "trees":
        return TreePartialDependence(DecisionTreeRegressor(max_depth=3).fit(*iris())), grids
    pictures = np.random.RandomState(0).rand(AT_ONCE, 16, 16, 3)
    pictures[::2, :8] *= 0.3
    explainer = AnchorImage(
        lambda seen: (seen[:, :4].mean(axis=(1, 2, 3)) > 0.4).astype(int),
        (16, 16, 3),
        segmentation_fn="slic",
        segmentation_kwargs={"n_segments": 8, "compactness": 20, "sigma": 0.5},
    )
    return explainer, lambda one, n: one.explain(pictures[n], threshold=0.8 + n / 50)


def test_an_explanation_leaves_the_shared_explainer_as_it_was(case: Case, example: Example) -> None:
    explainer = example.explainer(case)
    before = snapshot(explainer)
    explained(isolated(explainer), case, 0)
    explained(isolated(explainer), case, 1)
    assert snapshot(explainer) == before


def test_a_predictor_that_one_copy_is_given_is_its_own(case: Case, example: Example) -> None:
    if case.method is None:
        pytest.skip("a white box has no predictor to give it")
    explainer = example.explainer(case)
    before = snapshot(explainer)
    give_predictor(isolated(explainer), np.sum)
    assert snapshot(explainer) == before


def snapshot(value: Any, path: str = "", seen: set[int] | None = None) -> dict[str, Any]:
    """All that an explainer is made of: whose objects they are, and what is in their arrays."""
    seen = set() if seen is None else seen
    found: dict[str, Any] = {path: id(value)}
    if isinstance(value, np.ndarray) and value.dtype != object:
        found[path] = (id(value), value.tobytes())
    if id(value) in seen:
        return found
    seen.add(id(value))
    parts: Any = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, (list, tuple)):
        parts = enumerate(value)
    elif type(value).__module__.partition(".")[0] in ("alibi", "shap"):
        parts = vars(value).items()
    for name, part in list(parts):
        found |= snapshot(part, f"{path}/{name}", seen)
    return found


@pytest.mark.parametrize(
    "held",
    [
        lambda one: {"one": one},
        lambda one: [one, None],
        lambda one: (one,),
        lambda one: namedtuple("Held", "one")(one),
    ],
    ids=["dict", "list", "tuple", "named tuple"],
)
def test_explainers_in_a_container_are_copied_too(held: Any, example: Example) -> None:
    explainer = example.explainer(CASES[0])
    instance = SimpleNamespace(explainers=held(explainer))
    fresh = per_request(instance)
    first, second = fresh().explainers, fresh().explainers
    assert type(first) is type(instance.explainers)
    key = "one" if isinstance(first, dict) else 0
    assert isinstance(first[key], type(explainer))
    assert first[key] is not second[key]
    assert instance.explainers[key] is explainer
    assert declared_seed(instance) == 0


def test_the_seed_of_a_wrapper_of_shap_is_known(example: Example) -> None:
    pytest.importorskip("shap", reason="shap is not installed")
    explainer = example.explainer(next(case for case in CASES if case.module == "kernel_shap"))
    assert declared_seed(SimpleNamespace(explainer=explainer)) == 0


# -- scikit-learn's random numbers -----------------------------------------------------------------


def shuffled(_: int = 0) -> list[int]:
    """Return the numbers that scikit-learn draws with `random_state=None`."""
    from sklearn.utils import shuffle

    return list(map(int, shuffle(np.arange(50))))


def test_scikit_learn_draws_from_the_stream() -> None:
    np.random.seed(SEED)
    expected = shuffled()
    with stream(SEED):
        assert shuffled() == expected


def test_streams_side_by_side_are_scikit_learns_too() -> None:
    def drawn(seed: int) -> list[list[int]]:
        with stream(seed):
            return [shuffled() for _ in range(20)]

    alone = [drawn(seed) for seed in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        assert list(threads.map(drawn, range(AT_ONCE))) == alone


def test_outside_of_a_stream_scikit_learn_draws_as_ever() -> None:
    np.random.seed(SEED)
    expected = [shuffled(), np.random.normal(), shuffled()]
    np.random.seed(SEED)
    with stream(1):
        shuffled()
    assert [shuffled(), np.random.normal(), shuffled()] == expected


def test_a_copy_of_the_shared_generator_is_one_of_numpys() -> None:
    from sklearn.utils import check_random_state

    with stream(SEED):
        generator = check_random_state(None)
        assert check_random_state(generator) is generator
        copied = deepcopy(generator)
        assert type(copied) is np.random.RandomState
        assert copied.rand() == np.random.rand()
        inside = ThreadPoolExecutor(1).submit(copy_context().run, generator.rand).result()
    assert inside == copied.rand()
