"""What every test shares: the order, and Ctrl-C."""

from __future__ import annotations

import signal

import pytest


def pytest_configure() -> None:
    """Let the programs that tests start be interrupted, as from a terminal.

    Shells start what runs in the background with SIGINT ignored, which children inherit.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what is marked slow after everything else, so that a mistake shows early."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
