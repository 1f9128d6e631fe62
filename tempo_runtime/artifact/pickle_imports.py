"""The imports of a pickle, read without running it."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import math
import os
import pickle
import pickletools
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from tempo_runtime.errors import ArtifactDamaged

_PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".p")
_FEATURE_EXTRACTION = "sklearn.feature_extraction"
_COMPRESSED: dict[bytes, Callable[[BinaryIO], Any]] = {  # as joblib tells them apart
    b"\x78": lambda file: io.BytesIO(zlib.decompress(file.read())),
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZ": bz2.BZ2File,
    b"\x5d\x00": lzma.LZMAFile,
    b"\xfd\x37\x7a\x58\x5a": lzma.LZMAFile,
}
_TEXT = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "STRING")
_PUT = ("BINPUT", "LONG_BINPUT", "PUT")
_GET = ("BINGET", "LONG_BINGET", "GET")


def imports(data: bytes) -> list[str]:
    """Name that unpickling looks up, as `module.name`, each once, in order.

    They are read from the opcodes and the texts before them. A pickle that was made to deceive can hide
    a name from this, and is code all the same: it informs, and does not protect.

    Raises:
        ArtifactDamaged: If it is not a pickle.
    """
    try:
        return list(dict.fromkeys(map(".".join, _pairs(data))))
    except Exception as error:
        raise ArtifactDamaged(f"not a pickle: {error}") from error


def references(data: bytes) -> set[tuple[str, str]]:
    """Return the same as pairs of a module and a name."""
    return set(_pairs(data))


def _pairs(data: bytes) -> Iterator[tuple[str, str]]:
    texts: list[str] = []
    memo: dict[int, str] = {}
    count = 0  # of objects that MEMOIZE has numbered
    last = ""
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name in _TEXT:
            last = str(argument)
            texts.append(last)
        elif name == "MEMOIZE":
            memo[count] = last
            count += 1
        elif name in _PUT:
            memo[int(str(argument))] = last
        elif name in _GET:
            last = memo.get(int(str(argument)), "")
            texts.append(last)
        elif name == "GLOBAL":
            module, _, attribute = str(argument).partition(" ")
            yield module, attribute
            last = ""
        elif name != "FRAME":
            if name == "STACK_GLOBAL" and len(texts) > 1:
                yield texts[-2], texts[-1]
            last = ""


def looked_up(path: str) -> set[tuple[str, str]]:
    """List the (module, name) pairs that unpickling a file would look up, without running it.

    Args:
        path: A pickle, or what joblib or numpy wrote, compressed or not; any other file names nothing.
    """
    return _found_in(path).names


def features(folder: str) -> int | None:
    """Find how many features the scikit-learn model in a folder takes, without running it.

    Args:
        folder: The folder, or the model's file.

    Returns:
        The number; None if the model does not record it, or takes texts or dicts, which its first step
        turns into features.
    """
    paths = [folder]
    if os.path.isdir(folder):
        paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    for path in paths:
        if path.endswith(_PICKLES) and (found := _found_in(path)).features:
            makes = any(module.startswith(_FEATURE_EXTRACTION) for module, _ in found.names)
            return None if makes else found.features[0]
    return None


@dataclass
class _Found:
    """The content of a pickle, read without unpickling it.

    Attributes:
        names: The (module, name) pairs that it looks up.
        features: `n_features_in_` of each estimator, inner ones first.
    """

    names: set[tuple[str, str]] = field(default_factory=set)
    features: list[int] = field(default_factory=list)


def _found_in(path: str) -> _Found:
    found = _Found()
    # Whatever else a file is, it is not unpickled here: it may be damaged, or of another kind.
    with contextlib.suppress(Exception), open(path, "rb") as file:
        _read(file, found)
    return found


def _read(file: BinaryIO, found: _Found) -> None:
    start = file.read(6)
    file.seek(0)
    for magic, opener in _COMPRESSED.items():
        if start.startswith(magic):
            file = opener(file)
            start = file.read(6)
            file.seek(0)
            break
    if start.startswith(b"PK\x03\x04"):  # .npz, and what PyTorch writes
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith((".npy", ".pkl")):
                    _read(io.BytesIO(archive.read(name)), found)
    elif start == b"\x93NUMPY":
        version = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
        header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        if header(file)[2].hasobject:  # type: ignore[no-untyped-call]
            _Lookups(file, found).load()
    elif start[:1] == b"\x80" or os.path.splitext(str(getattr(file, "name", "")))[1] in _PICKLES:
        try:
            _Lookups(file, found).load()
        except Exception:  # objects of a kind that empty ones cannot stand for
            file.seek(0)
            found.names.update(_pairs(file.read()))


class _Whole:
    """A file without `peek`, with which an unpickler reads no further than it has come."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self.readline = file.readline


class _Lookups(pickle.Unpickler):
    """Notes what a pickle looks up, and makes empty objects of it."""

    def __init__(self, file: BinaryIO, found: _Found) -> None:
        super().__init__(_Whole(file))
        self._file = file
        self._found = found

    def find_class(self, module: str, name: str) -> Any:
        self._found.names.add((module, name))
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if (module, name) == ("dill._dill", "_create_type"):
            return lambda *args: type("Nothing", (_Nothing,), {})
        if name == "NumpyArrayWrapper":
            return type(name, (_Array,), {"lookups": self})
        return type("Nothing", (_Estimator,), {"found": self._found})

    def persistent_load(self, pid: Any) -> Any:
        return _Nothing()

    def skip(self, array: dict[str, Any]) -> None:
        """Skip the content of an array, which joblib writes between two parts of a pickle."""
        if array["dtype"].hasobject:
            _Lookups(self._file, self._found).load()
            return
        if array.get("numpy_array_alignment_bytes") is not None:
            self._file.seek(self._file.read(1)[0], os.SEEK_CUR)
        size = math.prod(array["shape"]) * array["dtype"].itemsize
        self._file.seek(size, os.SEEK_CUR)


class _Nothing:
    """Stands for any object, and any class."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _Nothing()

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Take an item of a list."""

    def extend(self, items: Any) -> None:
        """Take items of a list."""

    def add(self, item: Any) -> None:
        """Take an item of a set."""


class _Estimator(_Nothing):
    """Stands for an object that may be a scikit-learn estimator."""

    found: _Found

    def __setstate__(self, state: Any) -> None:
        number = state.get("n_features_in_") if isinstance(state, dict) else None
        if isinstance(number, int):
            self.found.features.append(number)


class _Array(_Nothing):
    lookups: _Lookups

    def __setstate__(self, state: Any) -> None:
        self.lookups.skip(state)
