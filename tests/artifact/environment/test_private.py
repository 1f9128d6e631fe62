"""Private indexes: their packages are resolved and installed, and their credentials stay here."""

from __future__ import annotations

import logging
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tempo_runtime import save
from tempo_runtime._util import private_folders
from tempo_runtime.artifact.environment import LOCK, TARBALL, cache, sources, tools
from tempo_runtime.artifact.environment.conda import _remove_secrets, locked
from tempo_runtime.errors import EnvironmentFailed
from tests.artifact.environment.index import PASSWORD, Index, file_name, index, wheel
from tests.helpers import pipelines

VARIABLE = "TEMPO_TEST_INDEX_TOKEN"
PLACEHOLDER = f"deployer:${{{VARIABLE}}}"


@pytest.fixture(scope="module")
def served() -> Iterator[Index]:
    with index("tinyone", "tinytwo") as made:
        yield made


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> Path:
    """Pack only the packages that are asked for, without those that serve an artifact."""
    monkeypatch.setattr(sources, "_added", lambda *_: ())
    monkeypatch.setenv(VARIABLE, PASSWORD)
    return own_cache


def written(case: str, served: Index) -> dict[str, str]:
    """The requirements of a case: file -> text."""
    simple, file = "simple", f"files/{file_name('tinyone')}"
    match case:
        case "index":
            return {"requirements.txt": f"--index-url {served.url(simple)}\ntinyone\n"}
        case "extra-index":
            text = f"--extra-index-url={served.url(simple)}\ntinyone\n"
            return {"requirements.txt": f"--index-url {served.url(simple)}\n{text}"}
        case "variable":
            return {"requirements.txt": f"-i {served.url(simple, PLACEHOLDER)}\ntinyone  # why\n"}
        case "included":
            more = f"--index-url {served.url(simple, PLACEHOLDER)}\n"
            return {"requirements.txt": "-r more.txt\ntinyone\n", "more.txt": more}
        case "url":
            return {"requirements.txt": f"tinyone @ {served.url(file)}\n"}
        case "url-variable":
            return {"requirements.txt": f"tinyone @ {served.url(file, PLACEHOLDER)}\n"}
        case _:
            index = f"--index-url {served.url(simple, PLACEHOLDER)}\ntinytwo\n"
            return {"requirements.txt": f"{index}tinyone @ {served.url(file)}\n"}


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, and every file in the tarballs there."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()
        if path.name == TARBALL:
            with tarfile.open(path) as tar:
                for entry in tar:
                    if entry.isfile():
                        file = tar.extractfile(entry)
                        assert file is not None
                        yield f"{path}!{entry.name}", file.read()


def saved(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return Path(save(pipelines.double, str(folder)))


@pytest.mark.parametrize(
    ("maker", "case"),
    [
        *(("uv", case) for case in ("index", "extra-index", "variable", "included")),
        *(("uv", case) for case in ("url", "url-variable")),
        ("pip", "all"),
    ],
)
def test_a_private_index_resolves_and_installs_and_its_password_is_written_nowhere(
    maker: str,
    case: str,
    served: Index,
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if maker == "pip":
        monkeypatch.setattr(tools, "find", lambda *names: None)
    folder = saved(tmp_path / "double", files := written(case, served))
    with tarfile.open(folder / TARBALL) as tar:
        assert [name for name in tar.getnames() if name.endswith("/tinyone.py")]
    found = [
        where
        for root in (folder, small)
        for where, content in contents(root)
        if PASSWORD.encode() in content and Path(where).name not in files
    ]
    assert found == []
    assert PASSWORD not in caplog.text


def test_a_lock_without_the_credentials_is_installed_again(
    served: Index, small: Path, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "double", written("url-variable", served))
    lock = (folder / LOCK).read_text()
    for each in Path(cache.root()).iterdir():
        for file in each.iterdir():
            file.unlink()
    (folder / TARBALL).unlink()
    save(pipelines.double, str(folder))
    assert (folder / LOCK).read_text() == lock
    assert f"http://{served.host}/files/" in lock


def test_a_renewed_password_leaves_the_environment_as_it_is(
    small: Path, tmp_path: Path, served: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path / "double", written("index", served))
    monkeypatch.setattr(tools, "run", lambda *_: pytest.fail("a program was run"))
    saved(folder, {"requirements.txt": f"--index-url {served.url('simple', 'me:new')}\ntinyone\n"})


def test_a_password_that_is_written_out_is_warned_of(
    served: Index, small: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        saved(tmp_path / "one", written("variable", served))
        assert "password" not in caplog.text
        saved(tmp_path / "two", written("index", served))
    assert "requirements.txt contains a password or a token" in caplog.text


@pytest.mark.parametrize("maker", ["uv", "pip"])
@pytest.mark.parametrize("line", ["tinyone", "tinythree", "tinyone @ {file}", "tinyone @@ {file}"])
def test_an_error_has_no_password(
    maker: str,
    line: str,
    served: Index,
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if maker == "pip":
        monkeypatch.setattr(tools, "find", lambda *names: None)
    wrong = "deployer:wr0ng-t0ken"
    file = served.url(f"files/{file_name('tinyone')}", wrong)
    text = f"--index-url {served.url('simple', wrong)}\n{line.format(file=file)}\n"
    with pytest.raises(EnvironmentFailed) as raised:
        saved(tmp_path / "double", {"requirements.txt": text})
    assert "wr0ng-t0ken" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_requirements_are_read_as_windows_writes_them(
    encoding: str, small: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "double"
    (folder / "wheels").mkdir(parents=True)
    (folder / "wheels" / file_name("tinyone")).write_bytes(wheel("tinyone"))
    text = "--no-index\r\n--find-links ./wheels\r\ntinyone\r\n"
    (folder / "requirements.txt").write_bytes(text.encode(encoding))
    save(pipelines.double, str(folder))
    assert "tinyone==1.0" in (folder / LOCK).read_text()


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_the_cache_is_its_users_alone(small: Path, tmp_path: Path, served: Index) -> None:
    root = Path(cache.root())
    root.mkdir(parents=True)
    root.chmod(0o777)  # as a folder that another version made may be
    saved(tmp_path / "double", written("variable", served))
    [entry] = root.iterdir()
    modes = {path.name: oct(mode(path)) for path in [root, entry, *entry.iterdir()]}
    assert modes == {
        root.name: "0o700",
        entry.name: "0o700",
        TARBALL: "0o600",
        "sha256": "0o600",
    }


@pytest.mark.parametrize("whose", ["link", "other"])
def test_a_cache_of_another_user_is_not_believed(
    whose: str, small: Path, tmp_path: Path, served: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(cache.root())
    root.parent.mkdir(parents=True)
    if whose == "link":
        (tmp_path / "elsewhere").mkdir()
        root.symlink_to(tmp_path / "elsewhere")
    else:
        root.mkdir()
        own = os.geteuid()
        monkeypatch.setattr(private_folders.os, "geteuid", lambda: own + 1)
    with pytest.raises(EnvironmentFailed, match=r"it (is a link|belongs to another user)"):
        saved(tmp_path / "double", written("variable", served))


def test_tokens_of_channels_are_in_no_note_of_conda(tmp_path: Path) -> None:
    meta = tmp_path / "conda-meta"
    meta.mkdir()
    (meta / "history").write_text("# cmd: conda create -c https://me:pw1@conda.example/t/tk-2/x\n")
    url = "https://conda.example/t/tk-2/x/noarch/a-1-0.conda"
    (meta / "a-1-0.json").write_text(f'{{"url": "{url}", "md5": "0"}}')
    _remove_secrets(str(tmp_path))
    text = "".join(path.read_text() for path in meta.iterdir())
    assert "tk-2" not in text + locked(str(tmp_path))
    assert "pw1" not in text
    assert "https://conda.example/x/noarch/a-1-0.conda" in text
