"""Where a deployed model is called, by platform."""

from __future__ import annotations

import hashlib

import pytest

from tempo_runtime.deploy.kubernetes import addresses
from tempo_runtime.deploy.kubernetes.addresses import Endpoint
from tempo_runtime.settings import ChildSettings

INSIDE = "production.svc.cluster.local"
# With `-default` this is as long as a Service's name may be.
LONGEST = "m" * 55
HASHED = "seldon-" + hashlib.md5(f"{LONGEST}m-default".encode()).hexdigest()

TABLE = {
    "local": (addresses.local("127.0.0.1", 8080, 8081, "m"), "127.0.0.1", 8080, 8081, {}),
    "seldon": (addresses.seldon("m", "production"), f"m-default.{INSIDE}", 9000, 9500, {}),
    "seldon, engine": (
        addresses.seldon("m", "production", engine=True),
        f"m-default.{INSIDE}",
        8000,
        5001,
        {},
    ),
    "seldon, canary": (
        addresses.seldon("m", "production", predictor="canary"),
        f"m-canary.{INSIDE}",
        9000,
        9500,
        {},
    ),
    "seldon, 63": (
        addresses.seldon(LONGEST, "production"),
        f"{LONGEST}-default.{INSIDE}",
        9000,
        9500,
        {},
    ),
    "seldon, 64": (
        addresses.seldon(f"{LONGEST}m", "production"),
        f"{HASHED}.{INSIDE}",
        9000,
        9500,
        {},
    ),
    "kserve, headless": (
        addresses.kserve("m", "production", headless=True),
        f"m-predictor.{INSIDE}",
        8080,
        9000,
        {},
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_an_address_is_a_host_and_two_ports(case: str) -> None:
    endpoint, host, http, grpc, headers = TABLE[case]
    assert endpoint.url == f"http://{host}:{http}"
    assert endpoint.grpc == f"grpc://{host}:{grpc}"
    assert endpoint.headers == headers


def test_kserve_has_http_at_port_80() -> None:
    plain = addresses.kserve("m", "production")
    assert plain == Endpoint(
        f"http://m-predictor.{INSIDE}", f"grpc://m-predictor.{INSIDE}:9000", "m"
    )


def test_a_service_of_knative_has_one_port() -> None:
    for headless in (False, True):
        knative = addresses.kserve("m", "production", knative=True, headless=headless)
        assert knative == Endpoint(f"http://m.{INSIDE}", f"grpc://m.{INSIDE}:80", "m")


def test_a_model_of_core_2_is_found_by_a_header() -> None:
    found = addresses.seldon2("m", "production")
    host = f"seldon-mesh.{INSIDE}"
    assert found == Endpoint(f"http://{host}", f"grpc://{host}:80", "m", {"seldon-model": "m"})
    assert addresses.seldon2("m", "n", gateway="own").url == "http://own.n.svc.cluster.local"


@pytest.mark.parametrize("slash", ["", "/"])
def test_through_the_ingress_it_is_found_by_its_path_or_by_headers(slash: str) -> None:
    found = addresses.seldon_ingress("m", "production", f"http://1.2.3.4:8080{slash}")
    assert found.url + found.path == "http://1.2.3.4:8080/seldon/production/m/v2/models/m"
    assert found.grpc == "grpc://1.2.3.4:8080"
    assert found.headers == {"seldon": "m", "namespace": "production"}


def test_an_encrypted_ingress_is_so_over_grpc() -> None:
    assert addresses.seldon_ingress("m", "n", "https://models.example.com").grpc == (
        "grpcs://models.example.com"
    )


@pytest.mark.parametrize("length", [1, 55, 56, 63])
def test_a_service_s_name_is_a_label(length: int) -> None:
    service = addresses.seldon_service("m" * length, "default")
    assert len(service) <= 63
    assert (service == "m" * length + "-default") == (length <= 55)


@pytest.mark.parametrize("case", TABLE)
def test_an_address_is_one_that_a_pipeline_s_settings_take(case: str) -> None:
    endpoint = TABLE[case][0]
    for url in (endpoint.url, endpoint.grpc):
        assert ChildSettings.model_validate({"url": url}).url == (url,)
