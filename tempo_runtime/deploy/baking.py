"""An image of one artefact: the server's image, and the artefact in it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from tempo_runtime import __version__, artifact, describing, files
from tempo_runtime.deploy import engine
from tempo_runtime.errors import DeploymentFailed

_EPOCH = 315532800  # 1980-01-01: the same image from the same artefact, whenever it is built
_FOLDER = "artefact"
# The base decides on user, working directory and what is started.
_DOCKERFILE = f"""\
ARG BASE
FROM ${{BASE}}
COPY {_FOLDER}/ /mnt/models/
"""


@dataclass(frozen=True)
class Baked:
    """An image that was built.

    Attributes:
        name: Its name, with a tag.
        id: Its id.
        size: Its bytes, the base's among them.
        base: What it was built on.
    """

    name: str
    id: str
    size: int
    base: str


def bake(
    folder: str | os.PathLike[str],
    name: str | None = None,
    base: str = engine.IMAGE,
    labels: Mapping[str, str] | None = None,
) -> Baked:
    """Builds an image that serves an artefact by itself, from `/mnt/models`.

    Only files that tempo.json lists are in it, each as it was saved, and model-settings.json, which is
    written where the artefact has none. The same artefact on the same base is the same layer.

    Args:
        folder: The artefact.
        name: Name of the image; by default that of the pipeline, with the start of its digest as tag.
        base: Image to build on: the server's, or one of it with more packages.
        labels: More labels.

    Raises:
        ArtifactError: If there is no artefact, or a file of it is not the one that was saved.
        DeploymentFailed: If no engine answers, the base is missing, or the image cannot be built.
    """
    folder = os.path.abspath(folder)
    opened = artifact.verify_folder(folder, to_run=False)
    manifest = opened.description
    digest = files.sha256_of(folder, files.MANIFEST)
    name = name or f"{manifest['name']}:{digest[:12]}"
    found = {
        "org.opencontainers.image.title": str(manifest["name"]),
        "org.opencontainers.image.description": str(manifest["description"]),
        "org.opencontainers.image.base.name": base,
        "tempo-runtime.version": __version__,
        "tempo-runtime.artefact": digest,
        **(labels or {}),
    }
    with engine.connected() as client, _context(folder, manifest) as context:
        engine.image(client, base)
        from docker.errors import BuildError

        try:
            image, _ = client.images.build(
                fileobj=context,
                custom_context=True,
                tag=name,
                buildargs={"BASE": base},
                labels=found,
                rm=True,
                forcerm=True,
            )
        except BuildError as error:
            raise DeploymentFailed(f"{name} cannot be built: {error.msg}") from error
        return Baked(name, str(image.id), int(image.attrs["Size"]), base)


@contextlib.contextmanager
def _context(folder: str, manifest: Mapping[str, Any]) -> Iterator[IO[bytes]]:
    """What the engine is sent: the Dockerfile and the artefact, the same bytes for the same artefact."""
    with tempfile.TemporaryFile(prefix="tempo-image-") as context:
        with tarfile.open(fileobj=context, mode="w", format=tarfile.PAX_FORMAT) as archive:
            _add_text(archive, "Dockerfile", _DOCKERFILE)
            paths = {*manifest["files"], files.MANIFEST}
            if os.path.exists(os.path.join(folder, artifact.MODEL_SETTINGS)):
                paths.add(artifact.MODEL_SETTINGS)
            else:
                _add_text(archive, f"{_FOLDER}/{artifact.MODEL_SETTINGS}", _settings(manifest))
            for path in sorted(paths):
                place = os.path.join(folder, path)
                with open(place, "rb") as content:
                    _add(archive, f"{_FOLDER}/{path}", content, os.fstat(content.fileno()).st_size)
        context.seek(0)
        yield context


def _settings(manifest: Mapping[str, Any]) -> str:
    """A model-settings.json with what an image that serves by itself cannot do without."""
    return json.dumps(
        {
            "name": manifest["name"],
            "implementation": describing.IMPLEMENTATION,
            "parameters": {"uri": "."},
        }
    )


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    _add(archive, name, io.BytesIO(content), len(content))


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = size, _EPOCH, 0o644
    archive.addfile(entry, content)
