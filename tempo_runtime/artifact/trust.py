"""Whether an artifact is one that its user would have: by its digest, or by who signed it.

A pickle is code, and the digests inside an artifact only show that it is whole. Here the list of
them, `tempo.json`, is compared with a digest from elsewhere, or with an Ed25519 signature in it, before
a byte of the pickle is read.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tempo_runtime._util import extras
from tempo_runtime._util.atomic_files import DESCRIPTION
from tempo_runtime.artifact.description import Description, digest_of, signed_part
from tempo_runtime.errors import ArtifactError, ArtifactUntrusted, SettingsError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

EXPECTED_DIGEST = "TEMPO_RUNTIME_EXPECTED_DIGEST"
VERIFY_KEY = "TEMPO_RUNTIME_VERIFY_KEY"
_IN_URI = re.compile(r"(.*[^/@])/*@(sha256:[0-9a-f]{64})/*", re.DOTALL)
EXPECTED_DIGEST_SETTING = "expected_digest"  # in parameters.extra
_IN_SETTINGS = f"parameters.extra.{EXPECTED_DIGEST_SETTING}"


@dataclass(frozen=True)
class TrustPolicy:
    """The signature or digest that an artifact must have before it is loaded.

    Attributes:
        digests: Digests, of which it must have one; empty for any.
        keys: Files of public keys, one of which must match its signature; empty for any or no signature.
        source: Where the digests are demanded, for messages.
        also: Further demands, which it must meet as well.
    """

    digests: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    source: str = EXPECTED_DIGEST
    also: tuple[TrustPolicy, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether anything is demanded."""
        return bool(self.digests or self.keys) or any(self.also)

    @property
    def is_external(self) -> bool:
        """Whether something beside the artifact's own settings demands it."""
        own = self.source == _IN_SETTINGS
        return (bool(self.digests or self.keys) and not own) or any(
            d.is_external for d in self.also
        )

    def and_(self, *others: TrustPolicy) -> TrustPolicy:
        """Return these demands together with others."""
        return replace(self, also=(*self.also, *filter(None, others)))

    def of_child(self, folder: str, digest: str | None) -> TrustPolicy:
        """Return the demands on a child of an artifact.

        An artifact that meets its demands records the digests of its children. A child without a digest
        there must meet the same demands as the artifact.

        Args:
            folder: The artifact, for messages.
            digest: The child's digest there.
        """
        if not self or not digest:
            return self
        return TrustPolicy((digest,), (), f"{folder}/{DESCRIPTION}")

    @classmethod
    def of_environment(cls, environ: Mapping[str, str] = os.environ) -> TrustPolicy:
        """Read `TEMPO_RUNTIME_EXPECTED_DIGEST` and `TEMPO_RUNTIME_VERIFY_KEY`, separated by commas.

        model-settings.json is not read, because it travels with the artifact.

        Raises:
            SettingsError: If a digest is malformed, or a variable is set but empty: a secret without a
                value must not turn the check off.
        """
        for variable in (EXPECTED_DIGEST, VERIFY_KEY):
            if variable in environ and not _parts(environ[variable]):
                raise SettingsError(f"{variable} is set but empty; give it a value, or unset it")
        digests = parse_digests(environ.get(EXPECTED_DIGEST, ""), EXPECTED_DIGEST)
        return cls(digests, _parts(environ.get(VERIFY_KEY, "")))

    @classmethod
    def of_settings(cls, extra: Mapping[str, Any]) -> TrustPolicy:
        """Return the digests in `expected_digest` of `parameters.extra`, for one model's artifact.

        On Seldon Core 2 models share a server and its environment, and `parameters.extra` is what a
        deployment can say of one of them. It is demanded beside what the environment demands, never
        instead: the settings travel with the artifact.

        Args:
            extra: `parameters.extra` of the model's settings.

        Raises:
            SettingsError: If a digest is not written as one.
        """
        text = str(extra.get(EXPECTED_DIGEST_SETTING) or "")
        return cls(parse_digests(text, _IN_SETTINGS), (), _IN_SETTINGS)

    def check(self, folder: str, description: Description) -> None:
        """Raise what an artifact does not show.

        Args:
            folder: Where it is, for messages.
            description: Its tempo.json.

        Raises:
            ArtifactUntrusted: If it is not one of those demanded.
        """
        place = f" at {description.uri}" if description.uri else " into a store"
        self.check_digest(folder, description.digest, place)
        if self.keys and not any(_signed_by(key, description) for key in self.keys):
            signed = "is signed by another key than" if description.signed else "is not signed by"
            raise ArtifactUntrusted(
                f"{folder} {signed} {' or '.join(self.keys)}; save it with `sign` and that private key"
            )
        for demands in self.also:
            demands.check(folder, description)

    def check_files(self, folder: str, digest: str) -> None:
        """Refuse a model that is not a pipeline unless it meets the demands; it cannot be signed.

        Args:
            folder: Where it is, for messages.
            digest: The digest of its files, as `digest_of_files` computes it.

        Raises:
            ArtifactUntrusted: If its digest is not one of those demanded, or a key is demanded.
        """
        if self.keys:
            raise ArtifactUntrusted(
                f"{folder} has no {DESCRIPTION} and so no signature, but {VERIFY_KEY} or `verify` "
                "demands one; save the pipeline that calls it again, which records the digest of each "
                "child that has a folder"
            )
        self.check_digest(folder, digest)
        for demands in self.also:
            demands.check_files(folder, digest)

    def check_digest(self, folder: str, digest: str, place: str = " into a store") -> None:
        """Raise ArtifactUntrusted if digests are demanded and this is not one of them."""
        if self.digests and digest not in self.digests:
            raise ArtifactUntrusted(
                f"{folder} has the digest {digest}, but {self.source} demands "
                f"{' or '.join(self.digests)}; {self._remedy(place)}"
            )

    def _remedy(self, place: str) -> str:
        if self.source.endswith(DESCRIPTION):
            return (
                "use the child that the pipeline was saved with, or save the pipeline again if you trust "
                "this one"
            )
        return (
            f"deploy that artifact (`tempo-runtime upload FOLDER` puts it{place}), or demand this digest "
            "if you trust it"
        )


def digest_of_files(digests: Mapping[str, str]) -> str:
    """Return the digest of a model that has no tempo.json.

    Args:
        digests: Path of each of its files -> its SHA-256.
    """
    return digest_of({"files": dict(digests)})


def demanding(digests: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment that demands these digests, and nothing else, of every artifact.

    Args:
        digests: The digests.
        environ: The environment.
    """
    others = {name: value for name, value in environ.items() if name != VERIFY_KEY}
    return {**others, EXPECTED_DIGEST: ",".join(dict.fromkeys(digests))}


def elsewhere(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment that demands the same in another working directory.

    Args:
        environ: The environment.
    """
    keys = {VERIFY_KEY: ",".join(map(os.path.abspath, _parts(environ.get(VERIFY_KEY, ""))))}
    return {**environ, **(keys if VERIFY_KEY in environ else {})}


def digest_in(uri: str) -> tuple[str, str | None]:
    """Split `s3://b/x@sha256:...` into the URI and the digest at its end."""
    found = _IN_URI.fullmatch(uri)
    return (found[1], found[2]) if found else (uri, None)


def signed(description: Description, key: str) -> Description:
    """Return a description with its signature in it.

    Args:
        description: A tempo.json.
        key: File of an Ed25519 private key, in PEM.

    Raises:
        ArtifactError: If the key cannot be used.
    """
    signature = _private(key).sign(signed_part(description.stored))
    written = f"ed25519:{base64.b64encode(signature).decode()}"
    return Description.of({**description.stored, "signed": written}, DESCRIPTION)


def _signed_by(key: str, description: Description) -> bool:
    from cryptography.exceptions import InvalidSignature

    public = _public(key)
    kind, _, signature = str(description.signed).partition(":")
    try:
        public.verify(base64.b64decode(signature, validate=True), signed_part(description.stored))
    except (InvalidSignature, ValueError):
        return False
    return kind == "ed25519"


def _private(path: str) -> Ed25519PrivateKey:
    serialization, ed25519 = _cryptography()
    try:
        key: Ed25519PrivateKey = serialization.load_pem_private_key(_content(path), password=None)
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{path} holds no private key that can be used: {error}") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ArtifactError(
            f"{path} is not an Ed25519 key; `openssl genpkey -algorithm ed25519` makes one"
        )
    return key  # type: ignore[no-any-return]


def _public(path: str) -> Ed25519PublicKey:
    serialization, ed25519 = _cryptography()
    try:
        key: Ed25519PublicKey = serialization.load_pem_public_key(_content(path))
    except ValueError as error:
        raise ArtifactError(f"{path} holds no public key that can be used: {error}") from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise ArtifactError(
            f"{path} is not an Ed25519 public key; `openssl pkey -in KEY -pubout` writes it"
        )
    return key  # type: ignore[no-any-return]


def _cryptography() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ModuleNotFoundError as error:
        raise ArtifactError(
            f"signatures need the package cryptography: {extras.command('sign')}"
        ) from error
    return serialization, ed25519


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ArtifactError(f"the key {path} cannot be read: {error.strerror}") from error


def parse_digests(text: str, source: str) -> tuple[str, ...]:
    """Parse a comma-separated list of digests.

    Args:
        text: The list.
        source: Where it stands, for messages.

    Raises:
        SettingsError: If a digest is not written as one.
    """
    digests = _parts(text)
    for digest in digests:
        kind, _, number = digest.partition(":")
        if kind != "sha256" or len(number) != 64 or set(number) - set("0123456789abcdef"):
            raise SettingsError(
                f"{source} has {digest!r}; a digest is sha256: and 64 digits of 0-9 and "
                "a-f, as `tempo-runtime inspect` shows it"
            )
    return digests


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
