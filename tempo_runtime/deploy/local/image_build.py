"""Build the image of an artifact: the server's image with the artifact in it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO

from tempo_runtime import __version__
from tempo_runtime._util import atomic_files, json_files
from tempo_runtime.artifact import declaration, store
from tempo_runtime.deploy.local import engine
from tempo_runtime.errors import ArtifactDamaged, ArtifactUntrusted, DeploymentFailed
from tempo_runtime.servers import pinning, repository

_EPOCH = 315532800  # 1980-01-01, so that the same artifact always gives the same image
_FOLDER = "artifact"
# The base image defines the user, the working directory and the command.
_DOCKERFILE = f"""\
ARG BASE
FROM ${{BASE}}
COPY {_FOLDER}/ /mnt/models/
"""


@dataclass(frozen=True)
class BuiltImage:
    """An image that was built.

    Attributes:
        name: Its name, with a tag.
        id: Its id.
        size: Its size in bytes, including the base.
        base: The base image.
    """

    name: str
    id: str
    size: int
    base: str


def build_image(
    folder: str | os.PathLike[str],
    name: str | None = None,
    base: str = engine.IMAGE,
    labels: Mapping[str, str] | None = None,
) -> BuiltImage:
    """Build an image that contains an artifact in `/mnt/models` and serves it.

    It contains only the files that tempo.json lists, as they were saved, and model-settings.json, which
    is written if the artifact has none. The same artifact on the same base gives the same layer.

    Args:
        folder: The artifact.
        name: Name of the image; by default the pipeline's name, with the start of its digest as tag.
        base: Base image: the server's image, or one built on it with more packages.
        labels: More labels.

    Raises:
        ArtifactError: If there is no artifact, or one of its files is not as it was saved.
        DeploymentFailed: If no engine answers, the base image is missing, or the image cannot be built.
    """
    folder = os.path.abspath(folder)
    opened = store.verify_folder(folder, to_run=False)
    description = opened.description
    described = atomic_files.read(folder, atomic_files.DESCRIPTION)
    if json.loads(described) != description.stored:
        raise ArtifactDamaged(
            f"{folder}: its {atomic_files.DESCRIPTION} changed while it was read; build it again"
        )
    settings = _settings(folder, opened)
    digest = atomic_files.sha256(described)
    name = name or f"{description.name}:{digest[:12]}"
    all_labels = {
        "org.opencontainers.image.title": description.name,
        "org.opencontainers.image.description": description.description,
        "org.opencontainers.image.base.name": base,
        "tempo-runtime.version": __version__,
        "tempo-runtime.artifact": digest,
        **(labels or {}),
    }
    with engine.connected() as client, _context(opened, described, settings) as context:
        engine.image(client, base)
        from docker.errors import BuildError

        try:
            image, _ = client.images.build(
                fileobj=context,
                custom_context=True,
                tag=name,
                buildargs={"BASE": base},
                labels=all_labels,
                rm=True,
                forcerm=True,
            )
        except BuildError as error:
            raise DeploymentFailed(f"{name} cannot be built: {error.msg}") from error
        return BuiltImage(name, str(image.id), int(image.attrs["Size"]), base)


@contextlib.contextmanager
def _context(
    opened: store.OpenedArtifact, described: bytes, settings: bytes
) -> Iterator[IO[bytes]]:
    """Provide the build context with Dockerfile and artifact: the same bytes for the same artifact."""
    texts = {atomic_files.DESCRIPTION: described, store.MODEL_SETTINGS: settings}
    with tempfile.TemporaryFile(prefix="tempo-image-") as context:
        with tarfile.open(fileobj=context, mode="w", format=tarfile.PAX_FORMAT) as archive:
            _add_text(archive, "Dockerfile", _DOCKERFILE.encode())
            for path in sorted({*opened.description.files, *texts}):
                if path in texts:
                    _add_text(archive, f"{_FOLDER}/{path}", texts[path])
                    continue
                with open(os.path.join(opened.folder, path), "rb") as content:
                    _add(archive, f"{_FOLDER}/{path}", content, os.fstat(content.fileno()).st_size)
        context.seek(0)
        yield context


def _settings(folder: str, opened: store.OpenedArtifact) -> bytes:
    """Return the artifact's model-settings.json, or one with the settings that the image needs."""
    path = os.path.join(folder, store.MODEL_SETTINGS)
    if not os.path.exists(path):
        settings = {
            "name": opened.description.name,
            "implementation": declaration.IMPLEMENTATION,
            "parameters": {"uri": "."},
        }
        return json.dumps(settings).encode()
    content = atomic_files.read(folder, store.MODEL_SETTINGS)
    if opened.demands:
        settings = repository.located(json_files.parse_object(content, path), folder)
        pinning.refuse_unsigned(settings, folder, opened)
        uri = repository.parameters_of(settings)["uri"]
        if uri != folder:  # the image would serve another artifact or none
            raise ArtifactUntrusted(
                f"{path} sets parameters.uri to {uri}, which is not the artifact that is built into the "
                "image; set it to '.'"
            )
    return content


def _add_text(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    _add(archive, name, io.BytesIO(content), len(content))


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = size, _EPOCH, 0o644
    archive.addfile(entry, content)
