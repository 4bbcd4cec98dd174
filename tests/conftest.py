"""What every test shares: the order."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what is marked slow after everything else, so that a mistake shows early."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
