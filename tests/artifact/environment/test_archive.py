"""An archive that is made to do harm is refused by name, and writes nothing outside."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tempo_runtime.artifact.environment.unpacking import unpack
from tempo_runtime.errors import EnvironmentFailed


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 1
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = size if kind == tarfile.REGTYPE else 0
    return info


def packed(place: Path, members: list[tarfile.TarInfo]) -> str:
    with tarfile.open(place, "w:gz") as tar:
        for info in members:
            tar.addfile(info, io.BytesIO(b"x" * info.size))
    return str(place)


HOSTILE: dict[str, tuple[list[tarfile.TarInfo], str]] = {
    "a path upwards": ([member("../outside")], "leads out of the folder"),
    "an absolute path": ([member("/tmp/oneline-outside")], "leads out of the folder"),
    "through an absolute link": (
        [member("a", tarfile.SYMTYPE, "{outside}"), member("a/file")],
        "leads out of the folder",
    ),
    "a relative link": ([member("a", tarfile.SYMTYPE, "../outside")], "leads out of the folder"),
    "a hard link": ([member("a", tarfile.LNKTYPE, "../outside")], "outside the folder"),
    "a device": ([member("a", tarfile.CHRTYPE)], "neither a file nor a folder nor a link"),
    "a pipe": ([member("a", tarfile.FIFOTYPE)], "neither a file nor a folder nor a link"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_member_that_would_do_harm_is_refused(case: str, tmp_path: Path) -> None:
    members, told = HOSTILE[case]
    (tmp_path / "outside").mkdir()
    for info in members:
        info.linkname = info.linkname.replace("{outside}", str(tmp_path / "outside"))
    tarball = packed(tmp_path / "environment.tar.gz", members)
    with pytest.raises(EnvironmentFailed, match=told):
        unpack(tarball, str(tmp_path / "inside" / "prefix"))
    assert sorted(os.listdir(tmp_path)) == ["environment.tar.gz", "inside", "outside"]
    assert os.listdir(tmp_path / "outside") == []
    assert os.listdir(tmp_path / "inside") == ["prefix"]


def test_links_inside_and_to_an_interpreter_are_unpacked(tmp_path: Path) -> None:
    members = [
        member("lib/a"),
        member("bin/python", tarfile.SYMTYPE, "/usr/bin/python3"),
        member("bin/a", tarfile.SYMTYPE, "../lib/a"),
        member("lib/b", tarfile.LNKTYPE, "lib/a"),
    ]
    prefix = tmp_path / "prefix"
    unpack(packed(tmp_path / "environment.tar.gz", members), str(prefix))
    assert (prefix / "bin/a").read_text() == (prefix / "lib/b").read_text() == "x"
    assert os.readlink(prefix / "bin/python") == "/usr/bin/python3"


def test_a_bomb_is_stopped(tmp_path: Path) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for number in range(4):
            info = member(f"zeros-{number}", size=32 * 2**20)
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    tarball = tmp_path / "environment.tar.gz"
    tarball.write_bytes(gzip.compress(content.getvalue(), 1))
    with pytest.raises(EnvironmentFailed, match="50 times as large as the archive"):
        unpack(str(tarball), str(tmp_path / "prefix"))


def _flipped(content: bytes, place: int, bit: int) -> bytes:
    place %= len(content)
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    members = [member("bin/a"), member("lib/b", size=2000), member("c", tarfile.SYMTYPE, "bin/a")]
    place = Path(packed(tmp_path_factory.mktemp("whole") / "environment.tar.gz", members))
    return gzip.decompress(place.read_bytes())


_DAMAGE: st.SearchStrategy[Callable[[bytes], bytes]] = st.one_of(
    st.tuples(st.integers(0, 10**6), st.integers(0, 7)).map(
        lambda at: lambda content: _flipped(content, *at)
    ),
    st.integers(0, 10**6).map(lambda at: lambda content: content[: at % len(content)]),
    st.binary(max_size=600).map(lambda noise: lambda content: noise + content),
)


@given(damage=st.lists(_DAMAGE, min_size=1, max_size=3), compressed=st.booleans())
@settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_damaged_archive_is_unpacked_or_refused_and_nothing_is_written_outside(
    damage: list[Callable[[bytes], bytes]],
    compressed: bool,
    whole: bytes,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    content = whole
    for change in damage:
        content = change(content) or b"\0"
    (folder / "environment.tar.gz").write_bytes(gzip.compress(content) if compressed else content)
    told = ""
    try:
        unpack(str(folder / "environment.tar.gz"), str(folder / "inside" / "prefix"))
    except EnvironmentFailed as error:
        told = str(error)
    assert "\n" not in told
    assert len(told) < 1000
    assert set(os.listdir(folder)) <= {"environment.tar.gz", "inside"}
