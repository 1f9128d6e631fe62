"""The Role in k8s/rbac, against what deploying asks of the API."""

from __future__ import annotations

from collections.abc import Callable

import yaml

from tempo_runtime import KServeOptions, Seldon2Options, deploy_remote
from tempo_runtime.deploy.kubernetes.deploy import diff, list_models, logs, status, undeploy, wait
from tempo_runtime.deploy.kubernetes.manifests import RemotePlatform
from tempo_runtime.testing import FakeModel
from tests.deploy.kubernetes.api_server import ApiServer, Object
from tests.deploy.kubernetes.conftest import options, plus
from tests.deploy.kubernetes.core2 import Core2
from tests.deploy.kubernetes.kserve import KServe
from tests.deploy.kubernetes.manifests.crds import ROOT

Rights = set[tuple[str, str]]
ROLE = ROOT / "k8s/rbac/tempo-deployer.yaml"


def granted() -> Rights:
    """Return the resources and verbs of the Role."""
    rules = yaml.safe_load(ROLE.read_text())["rules"]
    return {(each, verb) for rule in rules for each in rule["resources"] for verb in rule["verbs"]}


def needed(method: str, path: str) -> Rights:
    """Return what the API wants for a request (RequestInfoFactory in k8s.io/apiserver)."""
    plural, _, name = path.partition("?")[0].partition("/namespaces/production/")[2].partition("/")
    part = next((each for each in ("proxy", "log") if f"/{each}" in name), "")
    verb = {"WATCH": "watch", "GET": "get" if name else "list", "POST": "create"}.get(method)
    found = {(f"{plural}/{part}" if part else plural, verb or method.lower())}
    # A server-side apply may make what is not there.
    return found | ({(plural, "create")} if "force=" in path else set())


def use(chosen: RemotePlatform) -> None:
    """Do all that can be done with a deployment."""
    deploy_remote(plus(), chosen, timeout=30).predict([1.0])
    status("plus", chosen)
    wait("plus", chosen, timeout=30)
    logs("plus", chosen)
    diff(plus(), chosen)
    list_models(chosen)
    undeploy("plus", chosen, timeout=30)


def test_the_role_grants_what_deploying_takes_and_no_more(
    api: ApiServer, operator: Callable[[Object], None]
) -> None:
    with FakeModel("plus", answer=lambda x: x) as fake:
        api.services |= {"plus-default:9000": fake.url, "plus-predictor:80": fake.url}
        use(options())
        remote = {"namespace": "production"}
        KServe(api)
        use(KServeOptions(remote_options={**remote, "min_available": 1}))
        api.admit = lambda item, live: item
        core = Core2(api)
        core.serves["plus"] = fake.url
        core.install()
        use(Seldon2Options(remote_options=remote))
        core.close()
    assert set().union(*(needed(*each) for each in api.requests)) == granted()
