from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tvm_shufflenet.errors import PackageError, ToolchainError
from tvm_shufflenet.runtime import Model, read_manifest

from .packages import Network, make_package

PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8
PUBLIC = serialization.PublicFormat.SubjectPublicKeyInfo
PLAIN = serialization.NoEncryption()


class Keys:
    """A fresh key pair as files."""

    def __init__(self, folder: Path, name: str) -> None:
        key = Ed25519PrivateKey.generate()
        self.private, self.public = folder / f"{name}.key", folder / f"{name}.pub"
        self.private.write_bytes(key.private_bytes(PEM, PKCS8, PLAIN))
        self.public.write_bytes(key.public_key().public_bytes(PEM, PUBLIC))
        self.raw = key.public_key().public_bytes_raw()


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path, "ours")


@pytest.mark.parametrize("name", ["net", "net.pkg"])
def test_a_signed_package_is_trusted_by_any_form_of_the_key(
    name: str, keys: Keys, network: Network, tmp_path: Path
) -> None:
    path = make_package(network, tmp_path / name, key=keys.private)
    for trust in (keys.public, str(keys.public), keys.public.read_bytes(), keys.raw):
        Model.load(path, trust=trust).close()
    Model.load(path).close()  # without `trust` a signature is not looked at


def test_an_unsigned_package_is_not_trusted(keys: Keys, package: Path) -> None:
    with pytest.raises(PackageError, match="is not signed"):
        Model.load(package, trust=keys.public)


def test_another_signer_is_not_trusted(keys: Keys, network: Network, tmp_path: Path) -> None:
    path = make_package(network, tmp_path / "net", key=Keys(tmp_path, "theirs").private)
    with pytest.raises(PackageError, match="not the trusted key's"):
        read_manifest(path, trust=keys.public)


def test_a_rebuilt_package_with_the_old_signature_is_not_trusted(
    keys: Keys, network: Network, tmp_path: Path
) -> None:
    signed = make_package(network, tmp_path / "signed", key=keys.private)
    forged = make_package(network, tmp_path / "forged", threads=2)
    shutil.copy(signed / "manifest.sig", forged)
    Model.load(forged).close()
    with pytest.raises(PackageError, match="was altered; refused"):
        Model.load(forged, trust=keys.public)


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_signature_of_another_size_is_refused(
    size: int, keys: Keys, network: Network, tmp_path: Path
) -> None:
    path = make_package(network, tmp_path / "net", key=keys.private)
    (path / "manifest.sig").write_bytes(bytes(size))
    with pytest.raises(PackageError):
        Model.load(path)


def test_every_bit_of_a_signature_counts(keys: Keys, network: Network, tmp_path: Path) -> None:
    path = make_package(network, tmp_path / "net", key=keys.private)
    whole = (path / "manifest.sig").read_bytes()
    for bit in range(0, 512, 7):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        (path / "manifest.sig").write_bytes(damaged)
        with pytest.raises(PackageError):
            Model.load(path, trust=keys.public)


def test_what_is_no_ed25519_key_is_named(keys: Keys, network: Network, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.key"
    for content in (
        b"hello",
        keys.public.read_bytes(),
        ec.generate_private_key(ec.SECP256R1()).private_bytes(PEM, PKCS8, PLAIN),
    ):
        wrong.write_bytes(content)
        with pytest.raises(PackageError, match="no Ed25519 private key"):
            make_package(network, tmp_path / "net", key=wrong)
    locked = serialization.BestAvailableEncryption(b"secret")
    wrong.write_bytes(Ed25519PrivateKey.generate().private_bytes(PEM, PKCS8, locked))
    with pytest.raises(PackageError, match="is encrypted"):
        make_package(network, tmp_path / "net", key=wrong)
    with pytest.raises(PackageError, match="cannot read the signing key"):
        make_package(network, tmp_path / "net", key=tmp_path / "none")
    assert not (tmp_path / "net").exists()


def test_what_is_no_public_key_is_named(keys: Keys, package: Path, tmp_path: Path) -> None:
    for trust in (keys.private, b"short", keys.private.read_bytes()):
        with pytest.raises(PackageError, match="no Ed25519 public key"):
            Model.load(package, trust=trust)
    with pytest.raises(PackageError, match="cannot read the public key"):
        Model.load(package, trust=tmp_path / "none")


def test_without_cryptography_trust_fails_closed(
    keys: Keys, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_package(network, tmp_path / "net", key=keys.private)
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ToolchainError, match=r"tvm-shufflenet\[sign\]"):
        Model.load(path, trust=keys.public)
    Model.load(path).close()
