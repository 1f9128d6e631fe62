"""The folder that `save` returns."""

from __future__ import annotations

import os

from tempo_runtime._util.atomic_files import DESCRIPTION
from tempo_runtime.artifact import summary
from tempo_runtime.artifact.description import Description
from tempo_runtime.errors import ArtifactError


class SavedFolder(str):
    """The path of an artifact's folder: text, which a notebook shows with what is in the artifact."""

    __slots__ = ()

    def _repr_html_(self) -> str | None:
        try:
            description = Description.read(os.path.join(self, DESCRIPTION))
        except (OSError, ArtifactError):
            return None  # removed or damaged since: the path is shown as text
        rows = {**summary.interface(description), **summary.seal(description)}
        return summary.picture(description.name, str(self), rows)

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)  # a pickle does not name this class
