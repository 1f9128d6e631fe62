"""The errors of deployments that fail on a real cluster, on each of its platforms.

If only a change helps, the reason is reported long before the timeout. If another controller may still
act, it is reported with the timeout.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import DeploymentFailed, deploy_remote, save, upload
from tempo_runtime.deploy.kubernetes.deploy import status, undeploy, wait
from tests.cluster.conftest import Space
from tests.cluster.models import times, without_a_package, without_words

TIMEOUT = 300  # for errors that are reported long before
WAITED = 90  # of what is told while the deployment waits for it

pytestmark = [pytest.mark.timeout(1200), pytest.mark.slow]
Made = Callable[[str, str], Any]


@pytest.fixture
def name() -> str:
    """The name of a model that no other test has."""
    return f"cluster-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def healthy(name: str, tmp_path: Path) -> Any:
    """A pipeline that was uploaded, and that nothing is wrong with."""
    return uploaded(times(2.0, str(tmp_path), name))


def uploaded(pipeline: Any) -> Any:
    save(pipeline, environment=None)
    upload(pipeline)
    return pipeline


def told(pipeline: Any, options: Any, timeout: float = TIMEOUT) -> str:
    """Return the error of a deployment that fails."""
    with pytest.raises(DeploymentFailed) as failed:
        deploy_remote(pipeline, options, timeout=timeout)
    text = str(failed.value)
    assert "\n" not in text
    if timeout == TIMEOUT:
        assert f"after {TIMEOUT} seconds" not in text
    return text


CAUSES: dict[str, tuple[Made, str]] = {
    "constructor": (without_words, "the lexicon has no words"),
    "package": (without_a_package, "No module named 'a_package_that_is_nowhere'"),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_a_model_that_does_not_load_is_reported_with_its_own_error(
    space: Space, name: str, tmp_path: Path, cause: str
) -> None:
    made, words = CAUSES[cause]
    pipeline, options = uploaded(made(name, str(tmp_path))), space.options()
    assert words in told(pipeline, options)
    assert words in status(name, options)[name].reason
    with pytest.raises(DeploymentFailed, match=words):
        wait(name, options, timeout=TIMEOUT)


def test_deployed_again_unchanged_after_a_failure_it_fails_again_at_once(
    space: Space, name: str, tmp_path: Path
) -> None:
    pipeline, options = uploaded(without_words(name, str(tmp_path))), space.options()
    for _ in range(2):
        assert "the lexicon has no words" in told(pipeline, options)


def test_a_failure_is_mended_by_the_next_deployment(
    space: Space, name: str, tmp_path: Path
) -> None:
    options = space.options()
    told(uploaded(without_words(name, str(tmp_path))), options)
    remote = deploy_remote(uploaded(times(2.0, str(tmp_path), name)), options)
    assert {each.state for each in status(name, options).values()} == {"ready"}
    remote.undeploy()


def test_a_wrong_digest_is_reported(space: Space, name: str, tmp_path: Path) -> None:
    uploaded(times(2.0, str(tmp_path), name))
    later = times(3.0, str(tmp_path), name)
    save(later, environment=None)  # and not uploaded
    assert f"the artifact at s3://tempo/{name} has the digest sha256:" in told(
        later, space.options()
    )


def test_a_uri_without_an_artifact_is_reported(space: Space, name: str, tmp_path: Path) -> None:
    pipeline = times(2.0, str(tmp_path), name)
    save(pipeline, environment=None)
    text = told(pipeline, space.options())
    assert any(words in text for words in ("not found", "No model found")), text


def test_a_missing_secret_is_reported_with_the_option_that_names_it(
    space: Space, healthy: Any
) -> None:
    option = "serviceAccountName" if space.platform == "kserve" else "authSecretName"
    snake = "service_account_name" if space.platform == "kserve" else "auth_secret_name"
    text = told(healthy, space.options(**{option: "absent"}), WAITED)
    assert "absent" in text
    assert snake in text


def test_a_missing_secret_of_variables_is_reported_with_the_option_that_names_it(
    space: Space, healthy: Any
) -> None:
    text = told(healthy, space.options(env_from=["absent"]), WAITED)
    assert "absent" in text
    assert "env_from" in text


def test_a_secret_that_comes_while_it_is_waited_for_is_enough(space: Space, healthy: Any) -> None:
    options = space.options(env_from=["later"])
    assert "later" in told(healthy, options, WAITED)
    space.kubectl("create", "secret", "generic", "later", "--from-literal=A=1")
    wait(healthy.get_tempo().details.name, options, timeout=TIMEOUT)
    space.kubectl("delete", "secret", "later")


def test_a_node_selector_that_no_node_has_is_reported_with_its_option(
    space: Space, healthy: Any
) -> None:
    text = told(healthy, space.options(node_selector={"tempo-test/absent": "true"}), WAITED)
    assert "node_selector" in text


def test_a_request_for_more_than_any_node_has_is_reported_with_its_option(
    space: Space, healthy: Any
) -> None:
    more = {"requests": {"cpu": "100000"}}
    assert "resources" in told(healthy, space.options(resources=more), WAITED)


def test_an_image_that_cannot_be_pulled_is_reported_with_its_option(
    space: Space, healthy: Any
) -> None:
    text = told(healthy, space.options(image="localhost:1/absent:1"))
    assert "localhost:1/absent:1" in text
    assert "correct image" in text


@pytest.mark.parametrize("platform", ["kserve"], indirect=True)
def test_a_missing_runtime_is_reported_with_its_name_and_option(space: Space, healthy: Any) -> None:
    text = told(healthy, space.options(runtime="absent"))
    assert "absent" in text
    assert "runtime" in text


@pytest.mark.parametrize("platform", ["seldon2"], indirect=True)
def test_a_missing_server_is_reported_with_its_name_and_option(space: Space, healthy: Any) -> None:
    text = told(healthy, space.options(server="absent"), WAITED)
    assert "absent" in text
    assert "server" in text


def test_undeploying_a_failed_deployment_leaves_nothing(
    space: Space, name: str, tmp_path: Path
) -> None:
    kinds = (*space.deployed, "services", "persistentvolumeclaims")
    before = space.names(*kinds)
    options = space.options()
    told(uploaded(without_words(name, str(tmp_path))), options)
    assert undeploy(name, options, timeout=60)
    assert space.names(*kinds) == before


@pytest.fixture
def limited(space: Space) -> Iterator[None]:
    """A quota that allows the namespace no pod more."""
    pods = len(space.names("pods"))
    space.kubectl("create", "quota", "full", f"--hard=pods={pods}")
    yield
    space.kubectl("delete", "quota", "full")


@pytest.mark.usefixtures("limited")
def test_a_quota_is_reported(space: Space, healthy: Any) -> None:
    assert "exceeded quota" in told(healthy, space.options(), WAITED)
