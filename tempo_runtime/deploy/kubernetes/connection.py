"""A cluster's API, as kubeconfig or a pod's service account has it.

The official client finds the cluster, its certificates and proxies, and keeps credentials fresh.
Requests go over its pool of connections, whose own retries know no deadline and are off.
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

from tempo_runtime.deploy.kubernetes.api_errors import line
from tempo_runtime.errors import DeploymentFailed

_HOME_CONFIG = "~/.kube/config"
_CONNECT = 10.0
_READ = 30.0
QUERY_SECONDS = 30.0
"""Seconds that a question to the cluster may take."""
_LONGEST = 365 * 24 * 3600.0  # threads cannot wait for ever by a number
_HEADER = re.compile(r"[\x20-\x7e]+")
_USER = re.compile(r"^([^/@]*//)?[^/]*@")


class Deadline:
    """When an operation has to be done.

    Args:
        seconds: From now.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + min(seconds, _LONGEST)

    @property
    def left(self) -> float:
        """Seconds until then; 0 when it has passed."""
        return max(0.0, self._end - time.monotonic())


class Unreachable(DeploymentFailed):
    """The cluster's API gives no answer."""


class ApiConnection:
    """The API of one cluster.

    Args:
        client: The official client's connection to it.
        inside: Whether this process is one of its pods.

    Attributes:
        host: Base URL of the API.
        inside: As given.
    """

    def __init__(self, client: Any, inside: bool) -> None:
        self._client = client
        self._settings = client.configuration
        self._pool = client.rest_client.pool_manager
        # A password in it would be printed; credentials are a user's of the kubeconfig.
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
            body: Bytes, a file that is read as it is sent, or an object that becomes JSON.
            headers: Its headers, beside those with credentials.
            read: Seconds that the server may be silent.
            connect: Seconds to connect.

        Raises:
            Unreachable: If there is no answer.
        """
        import urllib3

        url = f"{self.host}{path}" + (f"?{urlencode(query)}" if query else "")
        who = self._credentials()
        as_it_is = body is None or isinstance(body, bytes) or hasattr(body, "read")
        content = body if as_it_is else json.dumps(body).encode()
        try:
            return self._pool.request(
                method,
                url,
                body=content,
                headers={"user-agent": "tempo-runtime", **(headers or {}), **who},
                timeout=urllib3.Timeout(connect=connect, read=read),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except urllib3.exceptions.SSLError as error:
            raise Unreachable(
                f"no TLS with the cluster at {self.host}: its certificate is not trusted, or it does not "
                "trust yours; correct certificate-authority or client-certificate in KUBECONFIG"
            ) from error
        except urllib3.exceptions.HTTPError as error:
            raise self.unreachable(error) from error
        except Exception as error:
            # Of files of certificates, or values that may be secret: neither is told.
            raise Unreachable(
                f"nothing can be sent to the cluster at {self.host} ({type(error).__name__}); correct "
                "KUBECONFIG"
            ) from None

    def unreachable(self, error: Exception) -> Unreachable:
        """Return what a request that failed on its way becomes."""
        why = "does not answer" if "timed out" in str(error) else "cannot be reached"
        return Unreachable(
            f"the cluster at {self.host} {why}; is it up, and the current context of KUBECONFIG the one "
            "you mean?"
        )

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _credentials(self) -> dict[str, str]:
        try:
            found = list(self._settings.auth_settings().values())
        except Exception as error:  # a plugin's, or of the file that they are read from anew
            raise Unreachable(
                f"the credentials of the current context cannot be had ({_why(error)}); log in again, or "
                "correct KUBECONFIG"
            ) from None
        headers = {
            str(auth["key"]): str(auth["value"]).strip()
            for auth in found
            if auth["in"] == "header" and auth["value"]
        }
        if not all(map(_HEADER.fullmatch, headers.values())):
            raise Unreachable(
                "the credentials of the current context have characters that cannot be sent; log in "
                "again, or correct KUBECONFIG"
            )
        return headers


def connect() -> ApiConnection:
    """Return the cluster of the current context; in a pod without a kubeconfig, the pod's own.

    Raises:
        DeploymentFailed: If none is configured, or the package kubernetes is not installed.
    """
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise DeploymentFailed(
            "deploying on a cluster needs the package kubernetes: pip install 'tempo_runtime[k8s]'"
        ) from error
    settings = client.Configuration()
    settings.retries = False
    loads: Any = config  # which carries no types
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
                f"no cluster is known: there is no {_HOME_CONFIG}, and this is not a pod; name a "
                "kubeconfig with KUBECONFIG"
            )
        return ApiConnection(client.ApiClient(settings), inside)
    except DeploymentFailed:
        raise
    except Exception as error:  # the client takes a kubeconfig for well-formed
        where = "the pod's service account" if inside else f"the kubeconfig {named or home}"
        raise DeploymentFailed(
            f"{where} names no cluster that can be used ({_why(error)}); correct it, or name another "
            "with KUBECONFIG"
        ) from None


@contextmanager
def connected() -> Iterator[ApiConnection]:
    """Connect as `connect` does, until the block ends."""
    connection = connect()
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def bounded(response: Any, seconds: float) -> Iterator[None]:
    """Hangs up on a response whose body is not there in time.

    A body may come in drops, of which each is in time.
    """
    timer = threading.Timer(seconds, hang_up, [response])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def patient(response: Any, seconds: float) -> None:
    """Let the rest of a response be silent for so many seconds."""
    with contextlib.suppress(AttributeError):  # its connection is not kept
        response.connection.sock.settimeout(seconds)


def hang_up(response: Any) -> None:
    """End a response that another thread is reading; closing it would wait for that thread."""
    with contextlib.suppress(Exception):
        if hasattr(response, "shutdown"):
            response.shutdown()
        else:  # urllib3 before 2.3
            response.connection.sock.shutdown(socket.SHUT_RD)


def _why(error: Exception) -> str:
    """Return what an error says, if it is known to keep secrets to itself; else its kind."""
    known = isinstance(error, (OSError, ImportError))
    if known or type(error).__module__.startswith(("kubernetes.", "yaml.")):
        return line(str(error))
    return type(error).__name__
