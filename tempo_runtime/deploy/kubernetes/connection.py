"""Connect to a cluster's API, as the kubeconfig or a pod's service account configures it.

The official client finds the cluster, its certificates and proxies, and renews credentials. Requests
use its pool of connections; the pool's own retries ignore deadlines and are switched off.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from tempo_runtime._util import extras
from tempo_runtime.deploy.kubernetes.api_errors import line
from tempo_runtime.errors import DeploymentFailed

_HOME_CONFIG = "~/.kube/config"
_CONNECT = 10.0
_READ = 30.0
QUERY_SECONDS = 30.0
"""Seconds that a query to the cluster may take."""
_LONGEST = 365 * 24 * 3600.0  # threads cannot wait for an infinite number of seconds
_HEADER = re.compile(r"[\x20-\x7e]+")
_USER = re.compile(r"^([^/@]*//)?[^/]*@")


class Deadline:
    """The time by which an operation must be complete.

    Args:
        seconds: From now.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + min(seconds, _LONGEST)

    @property
    def left(self) -> float:
        """Seconds until the deadline; 0 once it has passed."""
        return max(0.0, self._end - time.monotonic())


class Unreachable(DeploymentFailed):
    """The cluster's API does not answer."""


class ApiConnection:
    """The API of one cluster.

    Args:
        client: The official client, connected to the cluster.
        inside: Whether this process runs in a pod of the cluster.

    Attributes:
        host: Base URL of the API.
        inside: As given.
    """

    def __init__(self, client: Any, inside: bool) -> None:
        self._client = client
        self._settings = client.configuration
        self._pool = client.rest_client.pool_manager
        # Errors print the host, so it must not contain a password; the user of the kubeconfig has it.
        self.host = _USER.sub(r"\1", str(self._settings.host)).rstrip("/")
        self.inside = inside

    def open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        read: float = _READ,
        connect: float = _CONNECT,
    ) -> Any:
        """Send a request, and return the response after reading only its headers.

        Args:
            method: Its method.
            path: Path under the base URL.
            query: Its query.
            body: Bytes, a file that is read while it is sent, or an object that becomes JSON.
            headers: Its headers, without those for credentials.
            read: Seconds that the server may be silent.
            connect: Seconds to connect.

        Raises:
            Unreachable: If there is no answer.
        """
        import urllib3

        url = f"{self.host}{path}" + (f"?{urlencode(query)}" if query else "")
        credentials = self._credentials()
        is_raw = body is None or isinstance(body, bytes) or hasattr(body, "read")
        content = body if is_raw else json.dumps(body).encode()
        try:
            return self._pool.request(
                method,
                url,
                body=content,
                headers={"user-agent": "tempo-runtime", **(headers or {}), **credentials},
                timeout=urllib3.Timeout(connect=connect, read=read),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except urllib3.exceptions.SSLError as error:
            raise Unreachable(
                f"TLS with the cluster at {self.host} fails: its certificate is not trusted, or it does "
                "not trust yours; correct certificate-authority or client-certificate in KUBECONFIG"
            ) from error
        except urllib3.exceptions.HTTPError as error:
            raise self.unreachable(error) from error
        except Exception as error:
            # About certificate files, or about values that may be secret: the message is not shown.
            raise Unreachable(
                f"no request can be sent to the cluster at {self.host} ({type(error).__name__}); correct "
                "KUBECONFIG"
            ) from None

    def unreachable(self, error: Exception) -> Unreachable:
        """Return the error for a request that got no answer."""
        why = "does not answer" if "timed out" in str(error) else "cannot be reached"
        return Unreachable(
            f"the cluster at {self.host} {why}; check that it is up, and that the current context of "
            "KUBECONFIG is the right one"
        )

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _credentials(self) -> dict[str, str]:
        try:
            settings = list(self._settings.auth_settings().values())
        except Exception as error:  # from a plugin, or from reading the credentials' file again
            raise Unreachable(
                f"the credentials of the current context cannot be read ({_why(error)}); log in again, "
                "or correct KUBECONFIG"
            ) from None
        headers = {
            str(auth["key"]): str(auth["value"]).strip()
            for auth in settings
            if auth["in"] == "header" and auth["value"]
        }
        if not all(map(_HEADER.fullmatch, headers.values())):
            raise Unreachable(
                "the credentials of the current context contain characters that cannot be sent; log in "
                "again, or correct KUBECONFIG"
            )
        return headers


def connect() -> ApiConnection:
    """Connect to the cluster of the current context, or in a pod without a kubeconfig to the pod's own.

    Raises:
        DeploymentFailed: If none is configured, or the package kubernetes is not installed.
    """
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise DeploymentFailed(
            f"deploying on a cluster needs the package kubernetes: {extras.command('k8s')}"
        ) from error
    settings = client.Configuration()
    settings.retries = False
    loads: Any = config  # it has no types
    named = os.environ.get("KUBECONFIG")
    home = os.path.expanduser(_HOME_CONFIG)
    inside = not named and not os.path.exists(home)
    try:
        if not inside:
            loads.load_kube_config(named or home, client_configuration=settings)
        elif "KUBERNETES_SERVICE_HOST" in os.environ:
            loads.load_incluster_config(client_configuration=settings)
        else:
            raise DeploymentFailed(
                f"no cluster is configured: there is no {_HOME_CONFIG}, and this is not a pod; set "
                "KUBECONFIG to a kubeconfig"
            )
        return ApiConnection(client.ApiClient(settings), inside)
    except DeploymentFailed:
        raise
    except Exception as error:  # the client does not validate a kubeconfig
        where = "the pod's service account" if inside else f"the kubeconfig {named or home}"
        raise DeploymentFailed(
            f"{where} has no usable cluster ({_why(error)}); correct it, or set KUBECONFIG to another one"
        ) from None


@contextmanager
def connected() -> Iterator[ApiConnection]:
    """Connect as `connect` does, and close the connection when the block ends."""
    connection = connect()
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def bounded(response: Any, seconds: float) -> Iterator[None]:
    """Hang up on a response whose body does not arrive in time.

    The timeout for reading is not enough: it applies to each part of the body separately.
    """
    timer = threading.Timer(seconds, hang_up, [response])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def patient(response: Any, seconds: float) -> None:
    """Allow the rest of a response to be silent for this many seconds."""
    with contextlib.suppress(AttributeError):  # its connection was released
        response.connection.sock.settimeout(seconds)


def hang_up(response: Any) -> None:
    """Stop a response that another thread is reading; closing it would wait for that thread."""
    with contextlib.suppress(Exception):
        if hasattr(response, "shutdown"):
            response.shutdown()
        else:  # urllib3 before 2.3
            response.connection.sock.shutdown(socket.SHUT_RD)


def _why(error: Exception) -> str:
    """Return the message of an error that is known to contain no secrets, otherwise its type."""
    known = isinstance(error, (OSError, ImportError))
    if known or type(error).__module__.startswith(("kubernetes.", "yaml.")):
        return line(str(error))
    return type(error).__name__
