"""Ed25519 signatures of manifests; a manifest names the SHA-256 of all else in its package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tvm_shufflenet.errors import PackageError, ToolchainError

SIGNATURE_BYTES = 64
_PURPOSE = b"tvm-shufflenet manifest 1\n"  # so that no other signed text passes for a manifest


def signed_message(manifest: bytes) -> bytes:
    """Return the bytes that are signed for this text of a manifest."""
    return _PURPOSE + manifest


def load_cryptography() -> Any:
    """Return the `cryptography` package's serialization module, and load Ed25519.

    Raises:
        ToolchainError: if it is not installed.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: F401
    except ImportError as error:
        raise ToolchainError(
            f"signatures need the 'cryptography' package ({error}); "
            'install it with: pip install "tvm-shufflenet[sign]"'
        ) from None
    return serialization


def public_key(trust: str | Path | bytes) -> Any:
    """Return an Ed25519 public key from its 32 raw bytes, its PEM text, or a PEM file's path.

    Raises:
        PackageError: if it is no such key.
        ToolchainError: if `cryptography` is not installed.
    """
    serialization = load_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    where = "the key given as bytes" if isinstance(trust, bytes) else str(trust)
    if isinstance(trust, bytes):
        pem = trust
    else:
        try:
            pem = Path(trust).read_bytes()
        except OSError as error:
            raise PackageError(f"cannot read the public key {trust}: {error.strerror}") from None
    try:
        if len(pem) == 32:
            return Ed25519PublicKey.from_public_bytes(pem)
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise PackageError(
            f"{where} is no Ed25519 public key in PEM form; "
            "make one with: openssl pkey -in KEY -pubout"
        )
    return key


def verify(manifest: bytes, signature: bytes | None, trust: str | Path | bytes, where: str) -> None:
    """Check that the holder of the trusted key signed this text of a manifest.

    Raises:
        PackageError: if there is no signature, or it is another's or another text's.
        ToolchainError: if `cryptography` is not installed.
    """
    key = public_key(trust)
    from cryptography.exceptions import InvalidSignature

    if signature is None:
        raise PackageError(
            f"{where} is not signed and only signed packages are trusted here; "
            "compile it with --sign"
        )
    try:
        key.verify(signature, signed_message(manifest))
    except InvalidSignature:
        raise PackageError(
            f"{where}: the signature is not the trusted key's, or the package was altered; refused"
        ) from None
