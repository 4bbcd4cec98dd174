"""The test network is compiled once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tvm_shufflenet.compiler import load_tvm

from .packages import Network, build_network, make_package


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    # Other tests of this process may need the compiler, so the runtime alone must not come first.
    load_tvm()
    return build_network(tmp_path_factory.mktemp("network"), (1, 3))


@pytest.fixture(scope="session")
def package(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder package for batches of 1 and 3, not to be altered."""
    return make_package(network, tmp_path_factory.mktemp("packages") / "net", (1, 3))


@pytest.fixture(scope="session")
def archive(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one-file package for batches of 1 and 3, not to be altered."""
    return make_package(network, tmp_path_factory.mktemp("packages") / "net.pkg", (1, 3))
