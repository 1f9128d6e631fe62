"""The details of a model: its name, its framework, where its artifact is, and its signature."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from tempo_runtime._util.credentials import has_password, redacted
from tempo_runtime._util.private_copies import origin_of
from tempo_runtime.errors import AuthoringError
from tempo_runtime.protocol.signature import Signature

if TYPE_CHECKING:
    from tempo_runtime.settings import Batching, InsightsOptions, StateOptions

# RFC 1123 label: what a Kubernetes Service, and so each platform we deploy to, accepts as a name.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_NAME_LENGTH = 63


class ModelFramework(str, Enum):
    """The framework that a model is made with, which decides on its server.

    MLServer serves models of most frameworks, in the process of a pipeline or in its own. Models in
    `SERVED_BY_TRITON` are served by Triton, as folders of its model repository; `Triton` stands for any
    of its backends, such as Python, DALI or FIL.
    """

    SKLearn = "sklearn"
    XGBoost = "xgboost"
    LightGBM = "lightgbm"
    MLFlow = "mlflow"
    HuggingFace = "huggingface"
    AlibiExplain = "alibi-explain"
    AlibiDetect = "alibi-detect"
    Triton = "triton"
    TensorFlow = "tensorflow"
    Tensorflow = "tensorflow"  # noqa: PIE796 - as tempo 0.5 spells it
    PyTorch = "pytorch"
    ONNX = "ONNX"
    TensorRT = "tensorrt"
    TempoPipeline = "tempo"
    Custom = "custom"


# Pipelines, and custom models made as pipelines.
SERVED_BY_US = (ModelFramework.TempoPipeline, ModelFramework.Custom)
# MLServer has no runtime for these.
SERVED_BY_TRITON = (
    ModelFramework.Triton,
    ModelFramework.TensorFlow,
    ModelFramework.PyTorch,
    ModelFramework.ONNX,
    ModelFramework.TensorRT,
)


@dataclass(frozen=True)
class ModelDetails:
    """A model, as its author declares it.

    Attributes:
        name: Name it is served under, and deployed as.
        platform: Its framework.
        local_folder: Folder of its artifact on this machine.
        uri: Where its artifact is uploaded to, and served from.
        description: A sentence for people.
        signature: What it takes and gives; None when that is not known.
        batching: How its callers put their calls together; None if they do not.
        insights: How its requests are logged; None if the settings alone decide.
        state: Where a pipeline keeps its state; None if it does not have one.
        output: Output that its callers ask for; None for the one that its server gives.
    """

    name: str
    platform: ModelFramework
    local_folder: str | None = None
    uri: str = ""
    description: str = ""
    signature: Signature | None = None
    batching: Batching | None = None
    insights: InsightsOptions | None = None
    state: StateOptions | None = None
    output: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if has_password(self.uri):
            raise AuthoringError(
                f"{self.name}: its uri {redacted(self.uri)} contains a password, but uris are saved and "
                "shown; leave it out, and keep credentials in rclone's configuration or a Secret"
            )

        if self.output is not None and (not isinstance(self.output, str) or not self.output):
            raise AuthoringError(
                f"{self.name}: output is {self.output!r:.80}, but must be the name of an output, such as "
                "output='predict_proba'"
            )
        for name in ("batching", "insights", "state"):
            if getattr(self, name) is not None:
                self._check_declared(name)

    def _check_declared(self, name: str) -> None:
        # Imported here, because few models declare any, and pydantic takes a while.
        from tempo_runtime.settings import Batching, InsightsOptions, StateOptions

        options = {"batching": Batching, "insights": InsightsOptions, "state": StateOptions}[name]
        value = getattr(self, name)
        if not isinstance(value, options):
            article = "an" if options.__name__[0] in "AEIOU" else "a"
            raise AuthoringError(
                f"{self.name}: {name} is {value!r:.80}, but must be {article} {options.__name__}; write "
                f"{name}={options.__name__}()"
            )

    @classmethod
    def served(
        cls, name: str, platform: ModelFramework, signature: Signature | None
    ) -> ModelDetails:
        """Describe a model that is served already, whatever its name.

        Args:
            name: Name that its server knows it by.
            platform: Its framework.
            signature: What it takes and gives, if that is known.
        """
        details = cls("served", platform, signature=signature)
        object.__setattr__(details, "name", name)
        return details

    @property
    def served_by_us(self) -> bool:
        """Whether it is a pipeline, or a custom model made as one."""
        return self.platform in SERVED_BY_US

    @property
    def served_by_triton(self) -> bool:
        """Whether Triton serves it, and not MLServer."""
        return self.platform in SERVED_BY_TRITON

    @property
    def home(self) -> str | None:
        """The folder that it was saved in; `local_folder` may be a private copy made by loading it."""
        if self.local_folder is None:
            return None
        return origin_of(self.local_folder)


def check_name(name: str) -> None:
    """Refuse a name that cannot be deployed.

    Raises:
        AuthoringError: With the rule that it breaks, and a name that keeps it.
    """
    if not isinstance(name, str) or not name:
        raise AuthoringError("a model needs a name")
    if len(name) <= _NAME_LENGTH and _NAME.fullmatch(name):
        return
    better = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_NAME_LENGTH].strip("-")
    raise AuthoringError(
        f"{name!r} cannot be a model's name: it becomes a Kubernetes Service, so it may have up to "
        f"{_NAME_LENGTH} lower-case letters, digits and '-', and begins and ends with a letter or "
        f"digit (RFC 1123)" + (f"; {better!r} would do" if better else "")
    )
