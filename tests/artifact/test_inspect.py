"""A notebook shows the content of an artifact: of the folder that `save` returns, and of `inspect`."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tempo_runtime import ArtifactUntrusted, inspect, save
from tempo_runtime.artifact.saved_folder import SavedFolder
from tests.helpers import pipelines


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return save(pipelines.bill, str(tmp_path / "<bill>"))


def test_save_returns_text_that_a_notebook_shows_as_a_table(folder: str, tmp_path: Path) -> None:
    assert folder == str(tmp_path / "<bill>")
    assert isinstance(folder, SavedFolder)
    shown = folder._repr_html_()
    assert shown is not None
    assert "<strong>bill</strong>" in shown
    assert "&lt;bill&gt;</span>" in shown
    assert "<th>inputs</th><td>" in shown
    assert inspect(folder).digest in shown


def test_its_pickle_is_plain_text(folder: str) -> None:
    assert type(pickle.loads(pickle.dumps(folder))) is str


def test_a_folder_that_is_gone_is_shown_as_text(folder: str) -> None:
    shutil.rmtree(folder)
    assert isinstance(folder, SavedFolder)
    assert folder._repr_html_() is None


def test_inspect_shows_the_content_of_an_artifact(folder: str) -> None:
    found = inspect(folder)
    assert repr(found) == f"<artifact 'bill' in {folder}, {found.digest}>"
    shown = found._repr_html_()
    assert "<th>pickle imports</th>" in shown
    assert "Every file is as it was saved." in shown
    assert "<script" not in shown


def test_inspect_demands_a_signature_if_a_key_is_given(folder: str) -> None:
    key = Path(folder, "key.pub")
    public = Ed25519PrivateKey.generate().public_key()
    key.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(ArtifactUntrusted, match="is not signed by"):
        inspect(folder, verify=str(key))
