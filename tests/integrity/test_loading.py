"""With a demanded key or digest, write access to a folder is not enough to run code from it."""

from __future__ import annotations

import gc
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tempo_runtime import (
    ArtifactError,
    ArtifactUntrusted,
    Model,
    ModelFramework,
    SettingsError,
    load,
    pipeline,
    save,
)
from tempo_runtime._util import atomic_files
from tempo_runtime.artifact import freshness, store, trust, verification
from tempo_runtime.artifact.store import inspect
from tempo_runtime.artifact.trust import EXPECTED_DIGEST, VERIFY_KEY, TrustPolicy
from tempo_runtime.cli import main
from tempo_runtime.errors import ArtifactDamaged, ChildUnavailable
from tempo_runtime.execution.loading import LoadedPipeline
from tempo_runtime.request.portal import background
from tempo_runtime.settings import PipelineSettings
from tests.integrity.signed import (
    ANSWER,
    Signed,
    hostile_module,
    hostile_pickle,
    make_signed,
)

ROW = np.array([[1.0, 2.0]])
Attack = Callable[[Signed], object]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    return make_signed(tmp_path_factory.mktemp("signed"))


@pytest.fixture
def signed(original: Signed, tmp_path: Path) -> Signed:
    """A copy that a test may attack."""
    shutil.copytree(original.shop.parent, tmp_path, dirs_exist_ok=True)
    places = (tmp_path / name for name in ("shop", "prices", "tax"))
    return Signed(*places, original.private, original.public, tmp_path / "attacked")


def answer(signed: Signed, **options: Any) -> float:
    loaded = load(str(signed.shop), **options)
    try:
        return float(loaded.predict(ROW))
    finally:
        loaded.get_tempo().release()


def change_settings(folder: Path, **settings: Any) -> None:
    path = folder / "model-settings.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**found, **settings}))


def set_child(signed: Signed, alias: str, **settings: str) -> None:
    extra = {"models": {alias: {"transport": "in_process", **settings}}}
    change_settings(signed.shop, parameters={"uri": ".", "extra": extra})


# -- attacks: each would run hostile code, or change a file that is used, if nothing were demanded ----


def swap_the_pickle(signed: Signed) -> None:
    (signed.shop / "pipeline.dill").write_bytes(hostile_pickle(signed.marker))


def swap_the_pickle_of_a_child_pipeline(signed: Signed) -> None:
    (signed.prices / "pipeline.dill").write_bytes(hostile_pickle(signed.marker))


def swap_a_child_pipeline_whole(signed: Signed) -> None:
    content = hostile_pickle(signed.marker)
    (signed.prices / "pipeline.dill").write_bytes(content)
    _describe_again(signed.prices)


def swap_the_model_of_a_child(signed: Signed) -> None:
    (signed.tax / "model.joblib").write_bytes(hostile_pickle(signed.marker))


def shadow_a_data_file(signed: Signed) -> None:
    _shadow(signed.shop, "bonus.txt")
    (signed.shop / "bonus.txt").write_text("0.0")


def shadow_the_model_of_a_child(signed: Signed) -> None:
    _shadow(signed.tax, "model.joblib")
    swap_the_model_of_a_child(signed)


def shadow_the_description_of_a_child(signed: Signed) -> None:
    _shadow(signed.prices, "tempo.json")
    swap_a_child_pipeline_whole(signed)


def remove_the_description_of_a_child(signed: Signed) -> None:
    (signed.prices / "tempo.json").unlink()
    (signed.prices / "model.joblib").write_bytes(hostile_pickle(signed.marker))
    change_settings(signed.prices, implementation="mlserver_sklearn.SKLearnModel")


def name_another_implementation_for_a_child(signed: Signed) -> None:
    (signed.tax / "hostile.py").write_text(hostile_module(signed.marker))
    change_settings(signed.tax, implementation="hostile.Runtime")


def name_an_implementation_in_the_settings(signed: Signed) -> None:
    (signed.tax / "hostile.py").write_text(hostile_module(signed.marker))
    set_child(signed, "tax", implementation="hostile.Runtime")


def name_another_folder_in_the_settings(signed: Signed) -> None:
    other = signed.tax.with_name("other")
    other.mkdir()
    (other / "model.joblib").write_bytes(hostile_pickle(signed.marker))
    set_child(signed, "tax", uri="../other")


def name_another_pipeline_in_the_settings(signed: Signed) -> None:
    swap_a_child_pipeline_whole(signed)
    set_child(signed, "prices", uri="../prices")


def add_a_module_beside_the_settings(signed: Signed) -> None:
    (signed.shop / "tempo_runtime.py").write_text(hostile_module(signed.marker))


def add_a_package_beside_the_settings(signed: Signed) -> None:
    (signed.shop / "cryptography").mkdir()
    (signed.shop / "cryptography/__init__.py").write_text(hostile_module(signed.marker))


def add_a_module_to_the_code(signed: Signed) -> None:
    (signed.shop / "code/numpy.py").write_text(hostile_module(signed.marker))


def add_server_settings(signed: Signed) -> None:
    (signed.shop / "settings.json").write_text("{}")


def add_a_link_to_a_pickle(signed: Signed) -> None:
    other = signed.marker.with_name("other.joblib")
    other.write_bytes(hostile_pickle(signed.marker))
    (signed.tax / "model.joblib").unlink()
    (signed.tax / "model.joblib").symlink_to(other)


def replace_a_file_by_a_pipe(signed: Signed) -> None:
    (signed.shop / "bonus.txt").unlink()
    os.mkfifo(signed.shop / "bonus.txt")


def remove_the_signature(signed: Signed) -> None:
    path = signed.shop / "tempo.json"
    description = json.loads(path.read_text())
    del description["signed"]
    path.write_text(json.dumps(description))


def remove_the_digest_of_a_child(signed: Signed) -> None:
    path = signed.shop / "tempo.json"
    description = json.loads(path.read_text())
    del description["children"]["tax"]["digest"]
    path.write_text(json.dumps(description))
    swap_the_model_of_a_child(signed)


def _shadow(folder: Path, path: str) -> None:
    """Put the signed file where an interrupted save would have put it."""
    (folder / ".tempo-next").mkdir(exist_ok=True)
    shutil.copy(folder / path, folder / ".tempo-next" / path)


def _describe_again(folder: Path) -> None:
    """Write the digests of the files as they are now into the description."""
    from tempo_runtime._util import atomic_files

    path = folder / "tempo.json"
    description = json.loads(path.read_text())
    description["files"] = {
        name: atomic_files.sha256_of(str(folder), name) for name in description["files"]
    }
    path.write_text(json.dumps(description))


ATTACKS: list[Attack] = [
    swap_the_pickle,
    swap_the_pickle_of_a_child_pipeline,
    swap_a_child_pipeline_whole,
    swap_the_model_of_a_child,
    shadow_the_model_of_a_child,
    shadow_the_description_of_a_child,
    remove_the_description_of_a_child,
    name_another_implementation_for_a_child,
    name_an_implementation_in_the_settings,
    name_another_folder_in_the_settings,
    name_another_pipeline_in_the_settings,
    add_a_module_beside_the_settings,
    add_a_package_beside_the_settings,
    add_a_module_to_the_code,
    add_server_settings,
    add_a_link_to_a_pickle,
    replace_a_file_by_a_pipe,
    remove_the_signature,
    remove_the_digest_of_a_child,
]
attacks = pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: each.__name__)


@pytest.fixture(params=["verify", "key", "digest"])
def demand(
    request: pytest.FixtureRequest, original: Signed, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """The arguments of `load` that demand the signed pipeline, or the environment that does."""
    if request.param == "verify":
        return {"verify": original.public}
    if request.param == "key":
        monkeypatch.setenv(VERIFY_KEY, original.public)
    else:
        monkeypatch.setenv(EXPECTED_DIGEST, inspect(str(original.shop)).digest)
    return {}


def test_a_signed_pipeline_answers_with_its_children(
    signed: Signed, demand: dict[str, str]
) -> None:
    assert answer(signed, **demand) == ANSWER


@attacks
def test_an_attack_is_refused_by_load_and_runs_no_code(
    attack: Attack, signed: Signed, demand: dict[str, str]
) -> None:
    if attack is remove_the_signature and EXPECTED_DIGEST in os.environ:
        pytest.skip("a digest demands no signature")
    attack(signed)
    with pytest.raises((ArtifactError, SettingsError)):
        answer(signed, **demand)
    assert not signed.attacked


@attacks
@pytest.mark.parametrize("command", ["inspect", "check", "predict"])
def test_an_attack_is_refused_by_the_commands_and_runs_no_code(
    command: str, attack: Attack, signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack(signed)
    monkeypatch.setenv(VERIFY_KEY, signed.public)
    options = {
        "inspect": ["--verify", signed.public],
        "check": [],
        "predict": ["--arg", "rows=[[1.0, 2.0]]"],
    }
    result = CliRunner().invoke(main, [command, str(signed.shop), *options[command]])
    assert result.exit_code != 0, result.output
    assert not signed.attacked


def test_a_shadowed_data_file_is_read_as_it_was_signed(
    signed: Signed, demand: dict[str, str]
) -> None:
    shadow_a_data_file(signed)
    assert answer(signed, **demand) == ANSWER


def test_a_shadowed_data_file_is_read_as_it_was_saved_where_nothing_is_demanded(
    signed: Signed,
) -> None:
    shadow_a_data_file(signed)
    assert answer(signed) == ANSWER


def test_a_file_that_is_swapped_while_it_loads_never_runs(signed: Signed) -> None:
    place, good = signed.tax / "model.joblib", (signed.tax / "model.joblib").read_bytes()
    hostile, ended = hostile_pickle(signed.marker), threading.Event()

    def swap() -> Iterator[bytes]:
        while not ended.is_set():
            yield from (hostile, good)

    def keep_swapping() -> None:
        for content in swap():
            beside = place.with_suffix(".new")
            beside.write_bytes(content)
            beside.replace(place)

    swapping = threading.Thread(target=keep_swapping)
    swapping.start()
    answers = []
    try:
        for _ in range(20):
            try:
                answers.append(answer(signed, verify=signed.public))
            except ArtifactError:
                answers.append(None)
    finally:
        ended.set()
        swapping.join()
    assert not signed.attacked
    assert set(answers) <= {ANSWER, None}


def test_a_child_that_changed_since_the_pipeline_was_signed_names_both_and_the_remedy(
    signed: Signed,
) -> None:
    swap_the_model_of_a_child(signed)
    with pytest.raises(ArtifactUntrusted) as refused:
        answer(signed, verify=signed.public)
    assert f"{signed.tax} has the digest sha256:" in str(refused.value)
    assert f"but {signed.shop}/tempo.json demands sha256:" in str(refused.value)
    assert "save the pipeline again" in str(refused.value)


def test_a_file_that_the_description_does_not_name_is_named(signed: Signed) -> None:
    add_a_package_beside_the_settings(signed)
    with pytest.raises(
        ArtifactUntrusted, match=r"shop/cryptography/__init__\.py could run .* remove it"
    ):
        answer(signed, verify=signed.public)


def test_a_setting_that_chooses_code_names_the_variable_to_set_instead(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_child(signed, "tax", uri="../tax")
    with pytest.raises(ArtifactUntrusted, match="TEMPO_RUNTIME_MODELS__TAX__URI instead"):
        answer(signed, verify=signed.public)
    change_settings(signed.shop, parameters={"uri": ".", "extra": {}})
    monkeypatch.setenv("TEMPO_RUNTIME_MODELS__TAX__URI", "../tax")
    assert answer(signed, verify=signed.public) == ANSWER


def test_a_variable_that_is_set_and_empty_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (EXPECTED_DIGEST, VERIFY_KEY):
        with pytest.raises(SettingsError, match=f"{variable} is set but empty"):
            TrustPolicy.of_environment({variable: " , "})


def test_private_copies_can_be_opened_by_this_user_only(
    signed: Signed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    loaded = load(str(signed.shop), verify=signed.public)
    assert loaded.predict(ROW) == ANSWER
    assert len(list(place.glob("tempo-verified-*"))) == 3
    assert all(each.stat().st_mode & 0o077 == 0 for each in place.glob("tempo-verified-*"))


def test_copies_of_a_process_that_was_killed_are_removed_by_the_next(
    signed: Signed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "temporary"
    abandoned = place / "tempo-verified-abandoned"
    abandoned.mkdir(parents=True)
    (abandoned / ".lock").touch()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    assert answer(signed, verify=signed.public) == ANSWER
    assert not abandoned.exists()


def test_a_pipeline_that_was_verified_knows_the_folder_that_it_was_saved_in(signed: Signed) -> None:
    details = load(str(signed.shop), verify=signed.public).get_tempo().details
    assert details.home == str(signed.shop)
    assert details.local_folder != str(signed.shop)


def test_a_package_behind_a_link_is_refused(signed: Signed, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/__init__.py").write_text(hostile_module(signed.marker))
    (tmp_path / "elsewhere/again").symlink_to(tmp_path / "elsewhere")
    (signed.shop / "cryptography").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactUntrusted, match=r"shop/cryptography/__init__\.py could run"):
        answer(signed, verify=signed.public)


def test_settings_that_change_after_the_check_are_not_read_again(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_named = verification.copy_named

    def copy_and_change(folder: str, digests: Any) -> Any:
        copied = copy_named(folder, digests)
        name_an_implementation_in_the_settings(signed)
        return copied

    monkeypatch.setattr(verification, "copy_named", copy_and_change)
    loaded = load(str(signed.shop), verify=signed.public)
    assert "models" not in loaded.get_tempo().extra
    loaded.get_tempo().release()


def test_a_declared_model_that_is_called_must_show_what_the_environment_demands(
    signed: Signed, demand: dict[str, str]
) -> None:
    if demand:
        pytest.skip("of `load` only")
    swap_the_model_of_a_child(signed)
    tax = Model("tax", platform=ModelFramework.SKLearn, local_folder=str(signed.tax))
    with pytest.raises(ArtifactUntrusted):
        tax(ROW)
    assert not signed.attacked


def test_packages_that_a_changed_folder_asks_for_are_not_installed(
    signed: Signed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @pipeline("plain", local_folder=str(tmp_path / "plain"))
    def plain(value: float) -> float:
        return value

    save(plain)
    digest = inspect(str(tmp_path / "plain")).digest
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (hostile / "setup.py").write_text(hostile_module(signed.marker))
    (tmp_path / "plain/requirements.txt").write_text(f"hostile @ file://{hostile}\n")
    monkeypatch.setenv(EXPECTED_DIGEST, digest)
    with pytest.raises(ArtifactUntrusted, match="would install packages"):
        freshness.ensure(plain, environ={})
    assert not signed.attacked


def _a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _a_link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _a_socket(path: Path) -> None:
    path.unlink()
    with pytest.MonkeyPatch.context() as patch, socket.socket(socket.AF_UNIX) as listening:
        patch.chdir(path.parent)  # the length of its path is limited
        listening.bind(path.name)


def _another_in_the_place_of_an_interrupted_save(path: Path) -> None:
    path.unlink()
    (path.parent / ".tempo-next").mkdir()
    (path.parent / ".tempo-next" / path.name).write_text("other")


@pytest.mark.parametrize("demanded", [True, False], ids=["demanded", "not_demanded"])
@pytest.mark.parametrize(
    "replace",
    [_a_folder, _a_link_to_itself, _a_socket, _another_in_the_place_of_an_interrupted_save],
    ids=lambda each: each.__name__,
)
def test_a_path_that_is_not_a_file_is_named_in_one_line(
    replace: Callable[[Path], None], demanded: bool, signed: Signed
) -> None:
    replace(signed.shop / "bonus.txt")
    with pytest.raises(ArtifactDamaged, match=r"shop: bonus\.txt (is missing|cannot be read: )"):
        answer(signed, **({"verify": signed.public} if demanded else {}))


def test_copies_are_not_made_in_the_folder_that_they_are_of(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(signed.shop))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(ArtifactError, match="others may change the copy; set TMPDIR"):
        answer(signed, verify=signed.public)


def test_copies_are_not_made_in_the_working_directory_for_want_of_a_temporary_folder(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(signed.shop.parent)
    monkeypatch.setattr("tempfile.tempdir", str(signed.shop.parent))
    with pytest.raises(ArtifactError, match="others may change the copy; set TMPDIR"):
        answer(signed, verify=signed.public)


def test_the_error_of_no_room_for_copies_has_the_remedy(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(signed.shop.parent / "missing"))
    with pytest.raises(ArtifactError, match=r"cannot be copied to .*: No such file.*set TMPDIR"):
        answer(signed, verify=signed.public)


def test_check_finds_a_key_that_is_given_from_the_working_directory(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(os.path.dirname(signed.public))
    monkeypatch.setenv(VERIFY_KEY, os.path.basename(signed.public))
    result = CliRunner().invoke(main, ["check", str(signed.shop)])
    assert result.exit_code == 0, result.output


def test_private_copies_are_removed_when_a_server_unloads_their_pipeline(
    signed: Signed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    pipeline_, extra = store.unpickle(
        store.verify_folder(str(signed.shop), TrustPolicy(keys=(signed.public,)))
    )
    portal = background()
    service = LoadedPipeline(pipeline_, PipelineSettings.read(extra), portal, str(signed.shop))
    assert len(list(place.iterdir())) == 3
    portal.run(service.close())
    gc.collect()
    assert list(place.iterdir()) == []


def test_a_file_is_named_in_one_line_whatever_its_name(signed: Signed) -> None:
    (signed.shop / "a\n\x1b[2Jb.py").touch()
    with pytest.raises(ArtifactUntrusted) as refused:
        answer(signed, verify=signed.public)
    assert "shop/a \\u001b[2Jb.py could run" in str(refused.value)
    assert str(refused.value).isprintable()


def test_a_child_that_cannot_be_loaded_is_named_by_its_own_folder(signed: Signed) -> None:
    (signed.tax / "model.joblib").rename(signed.tax / "model.bin")
    digest = trust.digest_of_files(atomic_files.digests(str(signed.tax)))
    tax = Model("tax", platform=ModelFramework.SKLearn, local_folder=str(signed.tax))
    tax.demands = TrustPolicy((digest,))
    with pytest.raises(ChildUnavailable, match=f"from {signed.tax} with") as failed:
        tax(ROW)
    assert "tempo-verified-" not in str(failed.value)
