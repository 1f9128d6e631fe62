"""Read options of a deployment on a cluster from a YAML file and from the command line."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from tempo_runtime.deploy.kubernetes.manifests.options import (
    KServeOptions,
    Seldon2Options,
    SeldonCoreOptions,
)
from tempo_runtime.deploy.options import message
from tempo_runtime.errors import SettingsError
from tempo_runtime.settings import option_names

if TYPE_CHECKING:
    from tempo_runtime._util.yaml_document import Lines
    from tempo_runtime.deploy.kubernetes.manifests import RemotePlatform

PLATFORMS: dict[str, Any] = {
    "seldon": SeldonCoreOptions,
    "seldon2": Seldon2Options,
    "kserve": KServeOptions,
}
DEFAULT = "seldon"
_PLATFORM, _REMOTE = "platform", "remote_options"
# Pydantic's types for which YAML and JSON have other words.
_TYPES = {
    "tuple_type": "Input should be a list",
    "dict_type": "Input should be keys with values",
    "model_type": "Input should be keys with values",
}


@dataclass(frozen=True)
class OptionsFile:
    """Options from a file.

    Attributes:
        path: The file.
        platform: The platform that the file names; None if it names none.
        options: Fields of the platform's `remote_options`.
        lines: The lines of the options.
    """

    path: str
    platform: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    lines: Lines | None = None

    def place(self, path: list[Any]) -> str:
        """Name the file, the line and the key of an option.

        Args:
            path: The keys that lead to it.
        """
        lines, number = self.lines, None
        for key in path:
            lines = lines.inner.get(key) if lines is not None else None
            number = lines.line if lines is not None else number
        return ":".join(map(str, filter(None, [self.path, number, f" {_dotted(path)}"])))


def read(path: str) -> OptionsFile:
    """Read a file of options: `platform`, and fields of that platform's `remote_options`.

    YAML is read as kubectl reads it, and nothing in it is run.

    Args:
        path: The file.

    Raises:
        SettingsError: If it cannot be read, or is not one mapping without repeated keys.
    """
    from tempo_runtime._util import yaml_reading

    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8; save it as UTF-8") from error
    documents, faults = yaml_reading.read(text, path)
    for fault in faults:
        if fault.rule != yaml_reading.EMPTY:
            raise SettingsError(f"{path}:{fault.line}: {fault.message}; correct it")
    if not documents and not _has_content(text):
        return OptionsFile(path)
    if len(documents) != 1:
        raise SettingsError(
            f"{path} must be one YAML document of keys with values, such as `namespace: production`"
        )
    content = dict(documents[0].content)
    if "kind" in content or "apiVersion" in content:
        raise SettingsError(
            f"{path} is a manifest ({content.get('kind')}), not a file of options; apply it with "
            "`kubectl apply -f`, or name a file with keys such as `platform` and `namespace`"
        )
    if _REMOTE in content:
        raise SettingsError(
            f"{path}: {_REMOTE} is not needed in this file; move its keys up, next to {_PLATFORM}"
        )
    lines = documents[0].lines
    platform = content.pop(_PLATFORM, None)
    if platform is not None and platform not in list(PLATFORMS):
        known = ", ".join(PLATFORMS)
        raise SettingsError(
            f"{OptionsFile(path, lines=lines).place([_PLATFORM])}: choose one of {known}"
        )
    return OptionsFile(path, platform, content, lines)


def options_of(
    platform: str | None,
    flags: Mapping[str, Any],
    file: OptionsFile | None,
    shown: Callable[[str], str],
) -> RemotePlatform:
    """Build options from the command line and a file; the command line takes precedence.

    Args:
        platform: The platform that the command line names; None if it names none.
        flags: Fields of its `remote_options` that the command line states.
        file: The file; None if none is named.
        shown: Returns the command line's own spelling of a field, for errors.

    Raises:
        SettingsError: If they are invalid; it names the file and the key, or the command line's option.
    """
    file = file or OptionsFile("")
    kind = PLATFORMS[platform or file.platform or DEFAULT]
    known = option_names(kind.model_fields[_REMOTE].annotation)
    merged: dict[str, tuple[str, Any]] = {}
    for given in (file.options, flags):
        by_field: dict[str, tuple[str, Any]] = {}
        for key, value in given.items():
            name = known.get(key, key)
            if name in by_field:
                both = " and ".join([by_field[name][0], key])
                where = f"{file.path}: " if given is file.options else "--set "
                raise SettingsError(f"{where}{both} are the same option; leave one out")
            by_field[name] = (key, value)
        merged |= by_field
    values = dict(merged.values())
    try:
        options: RemotePlatform = kind.model_validate({_REMOTE: values})
    except ValidationError as error:
        messages = [
            _message(kind, fault, lambda key: key in flags, file, shown)
            for fault in error.errors(include_url=False)
        ]
        raise SettingsError("; ".join(messages)) from None  # whose text would contain the values
    return options


def _message(
    kind: type[BaseModel],
    fault: Any,
    on_command_line: Callable[[Any], bool],
    file: OptionsFile,
    shown: Callable[[str], str],
) -> str:
    """Describe a fault and its location, without its value, which may be secret."""
    text = message(kind, fault)
    path = [part for part in fault["loc"][1:] if part != "[key]"]
    if fault["type"] == "extra_forbidden" and len(path) == 1:
        text += _elsewhere(kind, path[0])
    if not path:  # several options do not go together
        return f"{file.path}: {text}" if file.path else text
    text = _TYPES.get(fault["type"], text)
    if on_command_line(path[0]):
        inner = f": {_dotted(path[1:])}" if path[1:] else ""
        return f"{shown(path[0])}{inner}: {text}"
    if fault["type"] == "string_type" and isinstance(fault["input"], (bool, int, float)):
        text += "; put it in quotation marks"
    return f"{file.place(path)}: {text}"


def _elsewhere(kind: type[BaseModel], name: str) -> str:
    """Say which platform has an option that this one lacks; empty if none does."""
    platforms = [
        platform
        for platform, other in PLATFORMS.items()
        if other is not kind and name in option_names(other.model_fields[_REMOTE].annotation)
    ]
    if not platforms:
        meant = difflib.get_close_matches(name, [_PLATFORM])
        return f"; did you mean {_PLATFORM!r}?" if meant else ""
    platform_name = next(
        platform for platform, options_class in PLATFORMS.items() if options_class is kind
    )
    return f" for {platform_name}; it is an option of {' and '.join(platforms)}"


def _dotted(path: list[Any]) -> str:
    return ".".join(map(str, path))


def _has_content(text: str) -> bool:
    lines = (line.strip() for line in text.splitlines())
    return any(line and not line.startswith("#") and line not in ("---", "...") for line in lines)
