"""Sign packages on the development machine; `runtime.signature` is the other half."""

from __future__ import annotations

from pathlib import Path

from tvm_shufflenet.errors import PackageError
from tvm_shufflenet.runtime.signature import load_cryptography, signed_message


def sign_manifest(manifest: bytes, key: Path) -> bytes:
    """Return the 64-byte Ed25519 signature of a manifest's text by the private key in `key`.

    The key is an unencrypted PEM file (PKCS #8), as ``openssl genpkey -algorithm ed25519`` makes.

    Raises:
        PackageError: if the file is no such key.
        ToolchainError: if `cryptography` is not installed.
    """
    serialization = load_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        private = serialization.load_pem_private_key(key.read_bytes(), password=None)
    except OSError as error:
        raise PackageError(f"cannot read the signing key {key}: {error.strerror}") from None
    except TypeError:
        raise PackageError(f"the signing key {key} is encrypted; decrypt it first") from None
    except (ValueError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise PackageError(
            f"{key} is no Ed25519 private key in PEM form; "
            "make one with: openssl genpkey -algorithm ed25519 -out KEY"
        )
    return private.sign(signed_message(manifest))
