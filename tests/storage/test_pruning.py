"""Removing earlier uploads of an artifact from a real S3 server."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import StorageError, upload
from tempo_runtime.artifact.store import inspect
from tempo_runtime.artifact.trust import digest_in
from tempo_runtime.errors import SettingsError
from tempo_runtime.storage import remove, superseded
from tests.helpers.command_line import run
from tests.storage.cluster import Cluster
from tests.storage.conftest import Save
from tests.storage.s3 import S3

MODELS = (
    "/apis/machinelearning.seldon.io/v1/seldondeployments",
    "/apis/mlops.seldon.io/v1alpha1/models",
    "/apis/serving.kserve.io/v1beta1/inferenceservices",
)


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", os.devnull)


@dataclass
class Uploads:
    """Uploads of one artifact, a minute after each other, each in the folder that `upload` would choose.

    Attributes:
        uri: Their URI without a digest.
        folder: The folder that it is.
        save: Saves an artifact.
    """

    uri: str
    folder: Path
    save: Save

    def add(self, *words: str) -> list[str]:
        """Adds an upload of a version for each word; their URIs."""
        found = []
        for minute, word in enumerate(words):
            saved = self.save(word)
            digest = inspect(str(saved)).digest
            there = f"{self.folder}@{digest}"
            shutil.copytree(saved, there)
            os.utime(f"{there}/tempo.json", (60 * minute, 60 * minute))
            found.append(f"{self.uri}@{digest}")
        return found

    def there(self, *uris: str) -> list[str]:
        """Those of the URIs at which there is something."""
        folders = {uri: uri.replace(self.uri, str(self.folder), 1) for uri in uris}
        return [uri for uri, folder in folders.items() if Path(folder).exists()]


@pytest.fixture
def here(tmp_path: Path, save: Save) -> Uploads:
    """Uploads to a folder of this machine."""
    folder = tmp_path / "there" / "x"
    return Uploads(f"file://{folder}", folder, save)


@pytest.fixture
def stored(s3: S3, uri: str, save: Save) -> Uploads:
    """Uploads to S3."""
    return Uploads(uri, s3.folder(uri), save)


def test_nothing_is_removed_without_prune(here: Uploads) -> None:
    one, two = here.add("one", "two")
    upload(here.save("three"), uri=here.uri, digest=True)
    assert here.there(one, two) == [one, two]


def test_the_newest_uploads_stay_including_the_current_one(stored: Uploads) -> None:
    one, two, three = stored.add("one", "two", "three")
    done = upload(stored.save("one"), uri=stored.uri, digest=True, prune=2)
    assert (done.uri, done.pruned) == (one, (two,))
    assert stored.there(one, two, three) == [one, three]


def test_the_oldest_is_named_first(here: Uploads) -> None:
    one, two, three = here.add("one", "two", "three")
    assert superseded(three, 1) == [one, two]
    assert superseded(three, 3) == []


def test_uploads_in_keep_stay(here: Uploads) -> None:
    one, two, three, four = here.add("one", "two", "three", "four")
    assert superseded(four, 1, keep=[one, str(digest_in(two)[1])]) == [three]


def test_artifacts_of_other_names_and_without_a_digest_stay(here: Uploads) -> None:
    one, two = here.add("one", "two")
    for other in ("x-other", "y", "x/x"):
        replace(here, folder=here.folder.parent / other).add("one")
    shutil.copytree(here.save("plain"), here.folder, dirs_exist_ok=True)
    assert superseded(two, 1) == [one]


def test_only_the_artifact_s_own_files_are_removed(here: Uploads) -> None:
    [one] = here.add("one")
    folder = Path(one.removeprefix("file://"))
    (folder / "notes.txt").write_text("mine")
    remove([one])
    assert [each.name for each in folder.iterdir()] == ["notes.txt"]


def test_a_folder_without_the_artifact_of_its_digest_is_not_removed(here: Uploads) -> None:
    [one] = here.add("one")
    path = Path(one.removeprefix("file://"), "tempo.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "python": "3.9"}))
    with pytest.raises(StorageError, match="is not the artifact with the digest in its URI"):
        remove([one])
    assert path.with_name("pipeline.dill").exists()


def test_an_interrupted_removal_is_finished_by_the_next(here: Uploads) -> None:
    [one] = here.add("one")
    folder = Path(one.removeprefix("file://"))
    for path in set(folder.iterdir()) - {folder / "tempo.json"}:
        path.unlink()
    remove([one])
    assert not folder.exists()


def test_artifacts_that_are_deployed_on_any_platform_stay(here: Uploads, cluster: Cluster) -> None:
    *deployed, four, five = here.add("one", "two", "three", "four", "five")
    for path, uri in zip(MODELS, deployed, strict=True):
        cluster.answers[path] = {"items": [{"spec": {"storageUri": uri}}]}
    assert superseded(five, 1) == [four]


def test_only_the_contexts_namespace_is_read_if_others_are_forbidden(
    here: Uploads, cluster: Cluster
) -> None:
    one, two, three = here.add("one", "two", "three")
    deployed = {"items": [{"metadata": {"annotations": {"digest": digest_in(one)[1]}}}]}
    cluster.answers |= {MODELS[0]: 403, own(MODELS[0]): deployed}  # the others are not installed
    assert superseded(three, 1) == [two]


@pytest.mark.parametrize("status", [403, 500])
def test_nothing_is_removed_if_a_cluster_does_not_list_its_deployments(
    status: int, here: Uploads, cluster: Cluster
) -> None:
    _, two = here.add("one", "two")
    for path in MODELS:
        cluster.answers |= {path: status, own(path): status}
    with pytest.raises(
        StorageError, match="the deployed artifacts cannot be listed, so none is removed"
    ):
        superseded(two, 1)


def own(path: str) -> str:
    """The path of a kind's objects in the namespace of the context."""
    group, _, plural = path.rpartition("/")
    return f"{group}/namespaces/production/{plural}"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no digest": ({"prune": 1}, "upload with the option `digest`"),
    "none stays": ({"digest": True, "prune": 0}, "prune is 0, but this upload stays"),
    "no digest to keep": (
        {"digest": True, "prune": 1, "keep": ["s3://x"]},
        "a digest is sha256: and",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_impossible_options_of_prune_are_refused_before_anything_is_uploaded(
    wrong: str, s3: S3, uri: str, save: Save
) -> None:
    arguments, told = WRONG[wrong]
    with pytest.raises((StorageError, SettingsError), match=told):
        upload(save("one"), uri=uri, **arguments)
    assert not s3.folder(uri).parent.exists()


def test_the_command_names_the_uploads_to_remove_and_asks_first(stored: Uploads) -> None:
    one, two = stored.add("one", "two")
    arguments = (
        "upload",
        stored.save("three"),
        stored.uri,
        "--digest",
        "--prune",
        "1",
        "--keep",
        two,
    )
    code, _, told = run(*arguments, stdin="n\n")
    assert code == 1
    assert f". Remove these?\n  {one}\n" in told.partition("Uploaded to ")[2]
    assert stored.there(one, two) == [one, two]
    code, printed, _ = run(*arguments, "--yes", "--json")
    assert (code, json.loads(printed)["pruned"]) == (0, [one])
    assert stored.there(one, two) == [two]


def test_options_of_prune_without_it_are_refused(here: Uploads) -> None:
    code, _, told = run("upload", here.save("one"), here.uri, "--yes")
    assert (code, "--keep and --yes need --prune" in told) == (2, True)
