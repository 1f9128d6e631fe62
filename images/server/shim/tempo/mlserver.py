"""The class under the name that Seldon Core's operator asks for; in this image only."""

from tempo_runtime import TempoPipelineRuntime as InferenceRuntime

__all__ = ["InferenceRuntime"]
