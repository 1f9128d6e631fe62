"""Check what the image is about to run, if the environment demands a signature or a digest.

`python -m tempo_image.checked COMMAND`, where COMMAND is one of these:

    check TARBALL               refuses a packed environment that its artifact does not name
    copy TARBALL NEW            also copies it into the folder NEW, as `environment.tar.gz`
    prepare TARBALL NEW MODELS  also checks all models, and writes the folder that MLServer shall serve
                                (`models`), and the digests that its environment shall demand (`digests`)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from tempo_runtime._util import atomic_files
from tempo_runtime._util.atomic_files import DESCRIPTION
from tempo_runtime.artifact import store, trust
from tempo_runtime.artifact.environment import TARBALL
from tempo_runtime.errors import SettingsError, TempoError
from tempo_runtime.servers import model_set, repository


def check(tarball: str) -> None:
    """Check the artifact of a packed environment against its digests and the environment's demands.

    A folder without a tempo.json is another kind of model: it passes unless there is a demand.
    """
    folder = os.path.dirname(tarball)
    if trust.TrustPolicy.of_environment() or os.path.exists(os.path.join(folder, DESCRIPTION)):
        _environment(store.verify_folder(folder, to_run=False))


def copy(tarball: str, new: str) -> None:
    """Write a packed environment as it was checked: what others may write to may change at any time.

    Args:
        tarball: The packed environment; it may be absent.
        new: An empty folder.
    """
    if os.path.exists(tarball):
        opened = store.verify_folder(os.path.dirname(tarball), to_run=False)
        atomic_files.copy_verified(opened.folder, {TARBALL: _environment(opened)}, new)


def prepare(tarball: str, new: str, models: str) -> None:
    """Write a folder that MLServer can read instead of one that others may write to.

    Args:
        tarball: The packed environment; it may be absent.
        new: An empty folder.
        models: MLServer's folder of models.
    """
    copy(tarball, new)
    found = model_set.gather_alone(models)
    settings = repository.server_settings(models, trust.TrustPolicy.of_environment())
    place = os.path.join(new, "models")
    os.mkdir(place)
    repository.write(place, found.values(), settings)
    environ = repository.environment(found.values(), {})
    Path(new, "digests").write_text(environ[trust.EXPECTED_DIGEST])


def _environment(opened: store.OpenedArtifact) -> str:
    digest = opened.description.files.get(TARBALL)
    if digest is None:
        raise SettingsError(
            f"{opened.origin} has an {TARBALL} that its {DESCRIPTION} does not name; remove it or save "
            "again"
        )
    return digest


COMMANDS: dict[str, Callable[..., None]] = {"check": check, "copy": copy, "prepare": prepare}

if __name__ == "__main__":
    try:
        COMMANDS[sys.argv[1]](*sys.argv[2:])
    except TempoError as error:
        sys.exit(f"tempo-serve: {error}")
