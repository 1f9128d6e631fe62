"""`inspect` returns the content of an artifact, which a notebook shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tempo_runtime import ArtifactUntrusted, inspect, save
from tests.helpers import pipelines


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return save(pipelines.bill, str(tmp_path / "<bill>"))


def test_inspect_shows_the_content_of_an_artifact(folder: str) -> None:
    found = inspect(folder)
    assert repr(found) == f"<artifact 'bill' in {folder}, {found.digest}>"
    shown = found._repr_html_()
    assert "<strong>bill</strong>" in shown
    assert "&lt;bill&gt;</span>" in shown
    assert "<th>inputs</th><td>" in shown
    assert "<th>pickle imports</th>" in shown
    assert "Every file is as it was saved." in shown
    assert "<script" not in shown


def test_inspect_demands_a_signature_if_a_key_is_given(folder: str) -> None:
    key = Path(folder, "key.pub")
    public = Ed25519PrivateKey.generate().public_key()
    key.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(ArtifactUntrusted, match="is not signed by"):
        inspect(folder, verify=str(key))
