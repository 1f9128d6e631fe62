"""Refuses a packed environment that its artefact, or who serves it, does not vouch for."""

from __future__ import annotations

import os
import sys

from tempo_runtime import artifact
from tempo_runtime.environment import TARBALL
from tempo_runtime.errors import SettingsError, TempoError
from tempo_runtime.files import MANIFEST
from tempo_runtime.trust import Demands


def check(folder: str) -> None:
    """Compares an artefact with its digests, and with what is demanded of it.

    A folder without a tempo.json is another kind of model: it passes, unless something is demanded.
    """
    if Demands.of_environment() != Demands() or os.path.exists(os.path.join(folder, MANIFEST)):
        manifest = artifact.verify_folder(folder, to_run=False).description
        if TARBALL not in manifest["files"]:
            raise SettingsError(
                f"{folder} has an {TARBALL} that its {MANIFEST} does not name; remove it, or save anew"
            )


if __name__ == "__main__":
    try:
        check(sys.argv[1])
    except TempoError as error:
        sys.exit(f"tempo-serve: {error}")
