"""Connections to the cluster's API: credentials, time limits and errors."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import DeploymentFailed, SettingsError, deploy_remote
from tempo_runtime._util.ports import HOST
from tempo_runtime.deploy.kubernetes import connection as connections
from tempo_runtime.deploy.kubernetes.connection import Deadline
from tempo_runtime.deploy.kubernetes.deploy import get_client, undeploy
from tempo_runtime.deploy.kubernetes.session import EVENTS, SELDON, Api
from tempo_runtime.testing import FakeModel
from tests.deploy.kubernetes.api_server import TOKEN, ApiServer, failure
from tests.deploy.kubernetes.conftest import CONFIG, options, plus
from tests.deploy.kubernetes.test_failures import refused

CLUSTER = "apiVersion: v1\nkind: Config\ncurrent-context: mine\n"
CLUSTER += "contexts: [{{name: mine, context: {{cluster: here, user: me}}}}]\n"
CLUSTER += (
    "clusters: [{{name: here, cluster: {{{cluster}}}}}]\nusers: [{{name: me, user: {user}}}]\n"
)


@pytest.mark.parametrize(
    ("cluster", "user"),
    [
        ("server: 5", "{}"),
        ("server: 'http://h'", "text"),
        ("server: 'http://h', proxy-url: 'socks5://h:1'", "{}"),
    ],
)
def test_a_kubeconfig_that_the_client_cannot_handle_is_named(
    kubeconfig: Path, cluster: str, user: str
) -> None:
    kubeconfig.write_text(CLUSTER.format(cluster=cluster, user=user))
    assert refused().startswith(f"the kubeconfig {kubeconfig} has no usable cluster (")


def test_a_token_that_ends_in_a_newline_is_taken(
    api: ApiServer, kubeconfig: Path, operator: Any, served: FakeModel
) -> None:
    text = CONFIG.format(host=HOST, port=api.port, token=f'"{TOKEN}\\n"')
    kubeconfig.write_text(text)
    deploy_remote(plus(), options(), timeout=30)


@pytest.mark.parametrize("token", ["secr\u20act", "secr\\nt"])
def test_a_token_that_cannot_be_sent_is_not_shown(
    api: ApiServer, kubeconfig: Path, token: str
) -> None:
    kubeconfig.write_text(CONFIG.format(host=HOST, port=api.port, token=f'"{token}"'))
    text = refused()
    assert "credentials of the current context contain characters that cannot be sent" in text
    assert "secr" not in text


def test_a_password_in_the_url_is_not_shown(kubeconfig: Path) -> None:
    text = CLUSTER.format(cluster=f"server: 'http://me:passw0rd@{HOST}:1'", user="{}")
    kubeconfig.write_text(text)
    assert f"the cluster at http://{HOST}:1 cannot be reached" in refused()


def test_both_certificates_are_named_when_tls_fails(api: ApiServer, kubeconfig: Path) -> None:
    text = CONFIG.format(host=HOST, port=api.port, token=TOKEN)
    kubeconfig.write_text(text.replace("http://", "https://"))
    assert "correct certificate-authority or client-certificate in KUBECONFIG" in refused()


def test_credentials_that_cannot_be_renewed_are_reported(api: ApiServer) -> None:
    connection = connections.connect()

    def renewed(settings: Any) -> None:
        raise OSError("no such plugin")

    connection._settings.refresh_api_key_hook = renewed
    with pytest.raises(DeploymentFailed, match=r"cannot be read \(no such plugin\); log in again"):
        Api(connection, Deadline(5)).get(SELDON, "production", "plus")
    connection.close()


def test_an_anonymous_user_is_asked_to_log_in(api: ApiServer) -> None:
    message = 'User "system:anonymous" cannot get resource "seldondeployments"'
    api.fault("GET", "/plus", 403, failure(403, message))
    text = refused()
    assert "log in again" in text
    assert "k8s/rbac" not in text


def test_watches_that_are_not_answered_end_with_the_deadline(api: ApiServer) -> None:
    api.fault("WATCH", "", -1, times=9)
    # `api` waits for the end of their threads, and fails the test without it.
    assert re.search(r"(after|within) 2 seconds", refused(2))


@pytest.mark.parametrize("part", ["/seldondeployments/plus", "/v2/models/plus"])
def test_a_body_without_an_end_is_not_waited_for(api: ApiServer, operator: Any, part: str) -> None:
    api.fault("GET", part, -2, times=99)
    refused(2, ingress=f"http://{HOST}:{api.port}")
    assert api.asked("GET", part) < 9


def test_an_overloaded_cluster_is_not_asked_all_the_time(api: ApiServer) -> None:
    api.fault("GET", "/plus", 429, headers={"retry-after": "0"}, times=10**6)
    assert "answers 429" in refused(2)
    assert api.asked("GET", "/plus") < 9


def test_a_watch_that_is_always_too_late_does_not_list_all_the_time(api: ApiServer) -> None:
    api.fault("WATCH", "/seldondeployments", 410, failure(410, "too old"), times=10**6)
    refused(2)
    assert api.asked("GET", "/seldondeployments?") < 14


def test_a_watch_that_cannot_be_read_ends_the_wait(api: ApiServer) -> None:
    api.fault("WATCH", "/seldondeployments", 200, '{"type": "ADDED", "object": {}}\n')
    assert (
        "the watch of seldondeployments.machinelearning.seldon.io returned unreadable data"
        in refused(60)
    )


def test_pods_that_may_be_listed_and_not_watched_are_done_without(
    api: ApiServer, operator: Any, served: FakeModel
) -> None:
    for part in ("/pods", "/events"):
        api.fault("WATCH", part, 403, failure(403, "no"))
    # Not before they were refused.
    api.operator = lambda item: threading.Timer(0.5, operator, [item]).start()
    deploy_remote(plus(), options(), timeout=30)


def test_logs_that_may_not_be_read_are_reported(
    api: ApiServer, operator: Any, served: FakeModel
) -> None:
    remote = deploy_remote(plus(), options(), timeout=30)
    api.pod("plus-1", {"seldon-deployment-id": "plus"})
    api.fault("GET", "/log", 403, failure(403, "no"))
    with pytest.raises(DeploymentFailed, match="you may not get pods/log"):
        remote.logs()
    api.fault("GET", "/log", 400, failure(400, "waiting to start"))
    assert remote.logs("plus") == ""


@pytest.mark.parametrize("name", ["", "plus?x", "../plus", "Plus"])
def test_an_invalid_name_is_not_requested(api: ApiServer, name: str) -> None:
    for act in (get_client, undeploy):
        with pytest.raises(DeploymentFailed, match="is not a valid model name"):
            act(name, options())
    assert not api.requests


def test_names_are_quoted_in_paths(api: ApiServer) -> None:
    connection = connections.connect()
    assert Api(connection, Deadline(5)).get(EVENTS, "production", "a?b/c") is None
    assert api.requests == [("GET", "/api/v1/namespaces/production/events/a%3Fb%2Fc")]
    connection.close()


def test_an_ingress_that_is_not_a_url_is_refused_before_anything_is_applied(api: ApiServer) -> None:
    with pytest.raises(SettingsError, match="ingress 'http://a:b' is not a URL"):
        deploy_remote(plus(), options(ingress="http://a:b"), timeout=5)
    assert not api.requests


def test_an_infinite_deadline_is_one_that_a_thread_can_wait_for() -> None:
    assert 0 < Deadline(float("inf")).left <= threading.TIMEOUT_MAX
