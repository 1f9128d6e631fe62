"""Causes that keep a model from being ready, as each platform shows them, and their messages.

`python -m tests.deploy.kubernetes.causes` prints a list of platform, cause, seconds and message.
The seconds are those of Kubernetes: the time of each event is an estimate, from figures of a real
cluster and the kubelet's back-off, and is played faster. Those of Seldon Core 2 are of the run: there an
agent tells at once that a model does not load.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import DeploymentFailed, KServeOptions, Model, SeldonCoreOptions, deploy_remote
from tempo_runtime._util.ports import HOST
from tempo_runtime.deploy.kubernetes import deploy, failure_logs, readiness
from tempo_runtime.deploy.kubernetes.connection import Deadline
from tempo_runtime.deploy.kubernetes.manifests import RemotePlatform
from tempo_runtime.testing import FakeModel
from tests.deploy.kubernetes import core2_causes
from tests.deploy.kubernetes.api_server import TOKEN, ApiServer, Object
from tests.deploy.kubernetes.conftest import CONFIG, LINE, plus

LOGS = Path(__file__).parents[2] / "data/logs"
SPACE = {"namespace": "production"}
TIMEOUT = 60
CONFLICT = 'Operation cannot be fulfilled on "plus": the object has been modified; please apply'
READY = [{"type": "Ready", "status": "True"}]

Step = tuple[float, Callable[[], object]]


def second(number: float) -> str:
    return f"2026-01-01T00:00:{int(number):02}Z"


def log(name: str) -> str:
    return (LOGS / f"{name}.log").read_text()


class Stage(ABC):
    """A platform, its controllers and a node, for the one model that is deployed.

    Args:
        api: The API that they change.
    """

    name: str
    plural: str
    label: str
    deployment: str
    service: str
    container: str
    init: str

    def __init__(self, api: ApiServer) -> None:
        self.api = api
        self.set = f"{self.deployment}-7d4b9"
        self.pod_name = f"{self.set}-x2x4z"

    @abstractmethod
    def options(self, **remote: Any) -> RemotePlatform:
        """Return options of the platform."""

    def applied(self) -> None:
        """Have the platform begin, with what passes by itself."""
        self.creating()
        self.warn("UpdateFailed", CONFLICT, kind=self.plural, about="plus", last=20)
        self.pod({}, waiting="ContainerCreating")
        mount = 'MountVolume.SetUp failed for volume "kube-api-access": timed out waiting'
        self.warn("FailedMount", mount, last=2)
        metrics = "unable to get metrics for resource cpu: no metrics returned"
        kind = "HorizontalPodAutoscaler"
        self.warn("FailedGetResourceMetric", metrics, kind=kind, about=self.deployment, last=25)

    @abstractmethod
    def creating(self) -> None:
        """Have the platform say that it makes the model."""

    @abstractmethod
    def ready(self) -> None:
        """Have the platform say that the model is ready."""

    @abstractmethod
    def failed_to_load(self, message: str) -> None:
        """Have the platform notice that a container has ended, if it does."""

    def warn(
        self,
        reason: str,
        message: str,
        kind: str = "Pod",
        about: str = "",
        first: float = 1,
        last: float = 15,
    ) -> None:
        about = about or self.pod_name
        with self.api.changed:
            self.api.warn(about, reason, message, kind)
            event = list(self.api.objects.values())[-1]
            event |= {"firstTimestamp": second(first), "lastTimestamp": second(last)}
            self.api.put("events", event)

    def pod(self, state: Object, waiting: str = "", init: bool = False, **more: Any) -> None:
        """Make or change the pod, with the state of one of its containers."""
        if waiting:
            state = {"waiting": {"reason": waiting, **state}}
        name = self.init if init else self.container
        told = {"name": name, "image": "registry/image:1", "ready": False, "state": state, **more}
        kind = "initContainerStatuses" if init else "containerStatuses"
        status: Object = {kind: [told]}
        if init:
            initializing = {"waiting": {"reason": "PodInitializing"}}
            status["containerStatuses"] = [{"name": self.container, "state": initializing}]
        self.api.pod(self.pod_name, self._labels(), **status)

    def unscheduled(self, message: str) -> None:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        self.api.pod(self.pod_name, self._labels(), conditions=[{**condition, "message": message}])

    def crash(self, text: str, code: int = 1, init: bool = False, **ended: Any) -> list[Step]:
        """A container that ends after 4 seconds, is started at once, and ends again."""
        name = self.init if init else self.container
        reason = "Completed" if code == 0 else "Error"
        terminated = {"terminated": {"exitCode": code, "reason": reason, **ended}}

        def first() -> None:
            self.api.logs[self.pod_name, name] = text
            self.pod(terminated, init=init, restartCount=0)
            self.failed_to_load(text)

        def again() -> None:
            self.pod({"running": {}}, init=init, restartCount=1, lastState=terminated)

        def loop() -> None:
            waiting = "CrashLoopBackOff"
            self.pod({}, waiting, init=init, restartCount=1, lastState=terminated)

        return [(4, first), (5, again), (9, loop)]

    def _labels(self) -> dict[str, str]:
        return {self.label: "plus", "pod-template-hash": "7d4b9"}


class Seldon(Stage):
    """Seldon Core v1."""

    name = "seldon"
    plural = "seldondeployments"
    label = "seldon-deployment-id"
    deployment = "plus-default-0-plus"
    service = "plus-default:9000"
    container = "plus"
    init = "plus-model-initializer"

    def options(self, **remote: Any) -> RemotePlatform:
        return SeldonCoreOptions(remote_options={**SPACE, **remote})

    def creating(self) -> None:
        counted = {self.deployment: {"availableReplicas": 0, "replicas": 1}}
        self.api.state(self.plural, "plus", state="Creating", deploymentStatus=counted)

    def ready(self) -> None:
        self.api.state(self.plural, "plus", state="Available")

    def failed_to_load(self, message: str) -> None:
        pass  # its operator looks at Deployments only


class KServe(Stage):
    """KServe in Standard mode (its controller's messages: pkg/controller/v1beta1/inferenceservice)."""

    name = "kserve"
    plural = "inferenceservices"
    label = "serving.kserve.io/inferenceservice"
    deployment = "plus-predictor"
    service = "plus-predictor:80"
    container = "kserve-container"
    init = "storage-initializer"

    def options(self, **remote: Any) -> RemotePlatform:
        return KServeOptions(remote_options={**SPACE, **remote})

    def creating(self, **model: Any) -> None:
        unavailable = {"reason": "MinimumReplicasUnavailable", "status": "False"}
        self.api.state(
            self.plural,
            "plus",
            conditions=[
                {"type": "PredictorReady", **unavailable, "message": "Deployment is unavailable"},
                {"type": "Ready", **unavailable},
                {"type": "Stopped", "status": "False", "severity": "Info"},
            ],
            modelStatus={"transitionStatus": "InProgress", **model},
        )

    def ready(self) -> None:
        self.api.state(self.plural, "plus", conditions=READY)

    def failed_to_load(self, message: str) -> None:
        failure = {"reason": "ModelLoadFailed", "message": message, "exitCode": 1}
        self.creating(transitionStatus="BlockedByFailedLoad", lastFailureInfo=failure)


@dataclass(frozen=True)
class Cause:
    """A cause that keeps a model from being ready.

    Attributes:
        name: In a few words.
        steps: What happens at which second.
        told: Text that the message must contain.
        waited: Whether the deployment waits, because it may be put right; otherwise it has failed.
        options: Of the deployment.
        child: What the model calls.
    """

    name: str
    steps: Callable[[Any], list[Step]]
    told: str
    waited: bool = False
    options: Callable[[], dict[str, Any]] = dict
    child: Model | None = None


def unscheduled(name: str, message: str, told: str) -> Cause:
    def steps(stage: Stage) -> list[Step]:
        return [(1, lambda: stage.unscheduled(f"0/3 nodes are available: {message}"))]

    return Cause(name, steps, told, waited=True)


def loading(name: str, file: str, told: str, code: int = 1) -> Cause:
    return Cause(name, lambda stage: stage.crash(log(file), code), told)


def unmade(name: str, message: str, told: str, init: bool = False) -> Cause:
    def steps(stage: Stage) -> list[Step]:
        state = {"message": message}
        return [(3, lambda: stage.pod(state, "CreateContainerConfigError", init=init))]

    return Cause(name, steps, told, waited=True)


def forbidden(name: str, message: str, told: str) -> Cause:
    """Pods that may not be made; the ReplicaSet's controller tries again, later each time."""

    def steps(stage: Stage) -> list[Step]:
        def warn(last: float) -> None:
            stage.warn("FailedCreate", message, "ReplicaSet", stage.set, 1, last)

        def none() -> None:
            stage.api.drop("pods", stage.pod_name)
            warn(3)

        return [(1, none), (11, lambda: warn(11))]

    return Cause(name, steps, told, waited=True)


def images(stage: Stage, reason: str, message: str) -> list[Step]:
    pulling = {"message": message}
    return [
        (3, lambda: stage.pod(pulling, "ErrImagePull")),
        (15, lambda: stage.pod(pulling, reason)),
    ]


def killed(stage: Stage) -> list[Step]:
    return stage.crash("", 137, reason="OOMKilled")


def unhealthy(stage: Stage) -> list[Step]:
    def warn() -> None:
        probe = "Liveness probe failed: HTTP probe failed with statuscode: 503"
        stage.warn("Unhealthy", probe, last=4)

    return [(4, warn), *stage.crash("INFO:     Shutting down", 0)]


def no_program(stage: Stage) -> list[Step]:
    message = 'failed to create containerd task: exec: "mlserver": executable file not found'
    return stage.crash("", 128, reason="StartError", message=message)


def unmounted(stage: Stage) -> list[Step]:
    def warn(last: float) -> None:
        stage.warn("FailedMount", 'MountVolume.SetUp failed: secret "gcs" not found', last=last)

    return [(2, lambda: warn(2)), (16, lambda: warn(16))]


def stays_up(stage: Stage) -> list[Step]:
    def up() -> None:
        stage.api.logs[stage.pod_name, stage.container] = log("mlserver-1.7.1-invalid")
        stage.pod({"running": {}})

    def unhealthy() -> None:
        stage.warn("Unhealthy", "Readiness probe failed: statuscode: 404", last=20)

    return [(4, up), (20, unhealthy)]


PYTHON = (
    "tempo-serve: the Python of environment.tar.gz (/usr/bin/python3.12) does not start in this image: "
    "No such file or directory; pack the environment with the minor version of the image's Python\n"
)
COMMON = [
    loading(
        "constructor",
        "pipeline-constructor",
        "its constructor raised ValueError: no rate for south at /mnt/models/code/shop.py:19",
    ),
    loading(
        "load method", "pipeline-load-method", "load raised KeyError: 'south' at /mnt/models/code"
    ),
    loading(
        "missing package", "pipeline-package", "No module named 'geopandas' at /mnt/models/code"
    ),
    loading("wrong digest", "pipeline-digest", "has the digest sha256:1d4e3109cd15e015b"),
    loading("wrong signing key", "pipeline-key", "the key rlgyBDC0JiJZZNtJnXWJNwUmzfVs2J8+jIHb"),
    loading(
        "broken file", "pipeline-damaged", "pipeline.dill (6 bytes) is not the file that was sav"
    ),
    loading("broken pickle", "mlserver-1.6.1-pickle", "IndexError: pop from empty list"),
    loading(
        "another class, in MLServer 1.3.5, which ends with 0",
        "mlserver-1.3.5-constructor",
        "KeyError: 'south' at /mnt/models/plain.py:6",
        code=0,
    ),
    Cause(
        "Python of the packed environment",
        lambda stage: stage.crash(PYTHON),
        "the Python of environment.tar.gz (/usr/bin/python3.12) does not start in this image",
    ),
    Cause(
        "model-settings.json that MLServer cannot read, and stays up",
        stays_up,
        "runs without its model: ValidationError: 1 validation error for ModelSettings: max_batch",
        waited=True,
    ),
    Cause(
        "image that is not there",
        lambda stage: images(stage, "ImagePullBackOff", "not found"),
        "cannot be pulled (ImagePullBackOff: not found); correct image, or set image_pull_secrets",
    ),
    Cause(
        "invalid name of an image",
        lambda stage: [(3, lambda: stage.pod({"message": "no"}, "InvalidImageName"))],
        "cannot be pulled (InvalidImageName: no); correct image",
    ),
    Cause("image without the server", no_program, "executable file not found; correct image"),
    Cause("memory", killed, "was killed because it used too much memory (OOMKilled); raise memory"),
    Cause("liveness probe", unhealthy, "statuscode: 503); give it more time with liveness"),
    unmade(
        "missing Secret of env_from",
        'secret "keys" not found',
        'secret "keys" not found; create it, or correct env_secrets or env_from; the deployment waits '
        "for it",
    ),
    unmade(
        "image that runs as root",
        "container has runAsNonRoot and image will run as root",
        "set run_as_user to a number other than 0",
    ),
    unscheduled(
        "node_selector of no node",
        "3 node(s) didn't match Pod's node affinity/selector.",
        "correct node_selector, or add nodes",
    ),
    unscheduled(
        "taint", "3 node(s) had untolerated taint {gpu: yes}.", "name the taint in tolerations"
    ),
    unscheduled(
        "too much memory asked for", "3 Insufficient memory.", "request less with resources"
    ),
    unscheduled(
        "missing volume claim",
        'persistentvolumeclaim "models" not found.',
        "check that the volume claim of its uri exists and is bound",
    ),
    forbidden(
        "quota",
        'pods "plus-" is forbidden: exceeded quota: small, requested: pods=1, used: 1, limited: 1',
        "exceeded quota: small, requested: pods=1, used: 1, limited: 1; request less with resources",
    ),
    forbidden(
        "missing service account",
        'error looking up service account production/who: serviceaccount "who" not found',
        "create it, or correct service_account_name; the deployment waits for it",
    ),
    Cause("volume that cannot be mounted", unmounted, 'secret "gcs" not found; create it', True),
]
SELDON = [
    unmade(
        "missing Secret of the download",
        'secret "minio" not found',
        'secret "minio" not found; create it, or correct auth_secret_name; the deployment waits for it',
        init=True,
    ),
    Cause(
        "wrong key of the bucket",
        lambda stage: stage.crash(log("rclone-key"), init=True),
        "api error Forbidden: Forbidden; check its uri and the keys of auth_secret_name",
    ),
    Cause(
        "nothing at the uri",
        lambda stage: stage.crash(log("rclone-nofolder"), 3, init=True),
        "Failed to copy: directory not found; check its uri",
    ),
    Cause(
        "progress deadline",
        lambda stage: [
            (
                20,
                lambda: stage.api.state(
                    stage.plural,
                    "plus",
                    state="Failed",
                    description="Deployment is not progressing",
                ),
            )
        ],
        "Deployment is not progressing",
    ),
]


def without_runtime(stage: KServe) -> list[Step]:
    failure = {
        "reason": "RuntimeNotRecognized",
        "message": "Waiting for runtime to become available",
    }
    model = {"transitionStatus": "InvalidSpec", "lastFailureInfo": failure}
    return [(0, lambda: stage.creating(**model))]


def one_of_three(stage: KServe) -> list[Step]:
    def one() -> None:
        running = {"name": stage.container, "ready": True, "state": {"running": {}}}
        stage.api.pod(
            stage.pod_name, stage._labels(), containerStatuses=[running], conditions=READY
        )
        stage.ready()

    return [(12, one)]


def headless(stage: KServe) -> list[Step]:
    def child() -> None:
        spec = {"clusterIP": "None"}
        stage.api.put("services", {"metadata": {"name": "line-predictor"}, "spec": spec})
        stage.api.state(stage.plural, "line", conditions=READY)

    return [(11, child), *one_of_three(stage)]


KSERVE = [
    unmade(
        "missing Secret of the download",
        'secret "minio" not found',
        'secret "minio" not found; create it, or correct service_account_name; the deployment waits '
        "for it",
        init=True,
    ),
    Cause(
        "wrong key of the bucket",
        lambda stage: stage.crash(log("kserve-storage-key"), init=True),
        "S3 error [403]: Forbidden; check its uri and the keys of service_account_name",
    ),
    Cause(
        "nothing at the uri",
        lambda stage: stage.crash(log("kserve-storage-none"), init=True),
        "Failed to fetch model. No model found in plus.; check its uri",
    ),
    Cause(
        "missing ServingRuntime",
        without_runtime,
        "correct ServingRuntime pipelines, or set runtime to another one",
        options=lambda: {"runtime": "pipelines"},
    ),
    Cause(
        "one of three replicas",
        one_of_three,
        "1 of 3 pods are ready",
        waited=True,
        options=lambda: {"replicas": 3},
    ),
    Cause("Service without an address", headless, "set headless to true", child=LINE),
]
STAGES: dict[str, tuple[type[Stage], list[Cause]]] = {
    "seldon": (Seldon, COMMON + SELDON),
    "kserve": (KServe, COMMON + KSERVE),
}


class Ending(Deadline):
    """A deadline that passes on request, once the message about waiting has been given."""

    passed = False

    @property
    def left(self) -> float:
        return 0.0 if self.passed else super().left


@dataclass(frozen=True)
class Told:
    """The message about a cause.

    Attributes:
        seconds: Seconds of Kubernetes until then.
        error: What `deploy_remote` raised.
        status: The reason of `status`.
        model: That of the deployment's model.
        wait: What `wait` raised.
    """

    seconds: float
    error: str
    status: str
    model: str
    wait: str


def play(cause: Cause, stage: Stage, pace: float, patch: pytest.MonkeyPatch) -> Told:
    """Deploy a model that a cause keeps from being ready.

    Args:
        cause: The cause.
        stage: The platform.
        pace: Seconds that a second of Kubernetes takes.
        patch: Undoes what is changed for it.
    """
    patch.setattr(readiness, "SETTLED", readiness.SETTLED * pace)
    patch.setattr(failure_logs, "_AGAIN", failure_logs._AGAIN * pace)
    deadlines: list[Ending] = []

    def deadline(seconds: float) -> Ending:
        deadlines.append(Ending(seconds))
        return deadlines[-1]

    @contextlib.contextmanager
    def telling(_: str) -> Iterator[Callable[[str], None]]:
        def tell(text: str) -> None:
            deadlines[-1].passed |= cause.waited and cause.told in text

        yield tell

    patch.setattr(deploy, "Deadline", deadline)
    patch.setattr(deploy, "telling", telling)
    begun = [0.0]
    threads: list[threading.Thread] = []

    def act() -> None:
        for when, step in cause.steps(stage):
            left = begun[0] + when * pace - time.monotonic()
            time.sleep(max(0.0, left))
            step()

    def operator(item: Object) -> None:
        if item["metadata"]["name"] == "plus" and not threads:
            begun[0] = time.monotonic()
            stage.applied()
            threads.append(threading.Thread(target=act))
            threads[0].start()

    stage.api.operator = operator
    options = stage.options(**cause.options())
    error = _raised(lambda: deploy_remote(plus(child=cause.child), options, timeout=TIMEOUT))
    seconds = (time.monotonic() - begun[0]) / pace
    threads[0].join()
    return Told(
        seconds,
        error,
        deploy.status("plus", options)["plus"].reason,
        _model(options),
        _raised(lambda: deploy.wait("plus", options, timeout=TIMEOUT)),
    )


def _model(options: RemotePlatform) -> str:
    remote = deploy.get_client("plus", options)
    with contextlib.closing(remote.deployment):
        return remote.deployment.models()[0].reason


def _raised(act: Callable[[], object]) -> str:
    try:
        act()
    except DeploymentFailed as error:
        return str(error)
    return ""


def main(pace: float = 0.1) -> None:
    """Print the list."""
    print("| platform | cause | after | what is told |\n|---|---|---|---|")
    with FakeModel("plus") as fake, tempfile.TemporaryDirectory() as folder:
        os.environ["KUBECONFIG"] = os.path.join(folder, "kubeconfig")
        for name, (kind, causes) in STAGES.items():
            for cause in causes:
                api = ApiServer()
                config = CONFIG.format(host=HOST, port=api.port, token=TOKEN)
                Path(os.environ["KUBECONFIG"]).write_text(config)
                stage = kind(api)
                api.services[stage.service] = fake.url
                with pytest.MonkeyPatch.context() as patch:
                    told = play(cause, stage, pace, patch)
                api.stop()
                failed = told.error.partition("; applied so far")[0]
                said = f"waits: {told.status}" if cause.waited else failed
                print(f"| {name} | {cause.name} | {told.seconds:.0f} s | {said} |", flush=True)
        for title, each in core2_causes.CAUSES.items():
            api = ApiServer()
            config = CONFIG.format(host=HOST, port=api.port, token=TOKEN)
            Path(os.environ["KUBECONFIG"]).write_text(config)
            seconds, said = core2_causes.tell(api, each)
            api.stop()
            waits = "" if each.final else "waits: "
            print(f"| seldon2 | {title} | {seconds:.1f} s | {waits}{said} |", flush=True)


if __name__ == "__main__":
    main()
