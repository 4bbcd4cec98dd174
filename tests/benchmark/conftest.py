"""A network small enough to export in seconds, and runtimes that misbehave."""

from __future__ import annotations

from pathlib import Path

import pytest

from tvm_shufflenet.benchmark import export, runners

HEIGHT, WIDTH = 33, 35


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> export.Export:
    """A grouped and a depthwise convolution with BatchNorm, as an export with 10 classes."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 24, 3, 2, 1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Conv2d(24, 24, 1, groups=3),
        nn.Conv2d(24, 24, 3, 1, 1, groups=24),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 10),
    ).eval()
    folder = tmp_path_factory.mktemp("exports") / "tiny"
    export.write(module, (HEIGHT, WIDTH), folder)
    return export.Export("tiny", HEIGHT, WIDTH, folder)


@pytest.fixture
def fakes(monkeypatch) -> None:
    """Make the runtimes of `fake_runners` known under their modules' names."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    cards = tuple(
        runners.Card(path.stem, path.stem, "numpy", ("numpy",), "fake", folder="fake_runners")
        for path in sorted((Path(__file__).parent / "fake_runners").glob("[a-z]*.py"))
    )
    absent = runners.Card("absent", "absent", "absent", ("no_such_module",), "fake")
    monkeypatch.setattr(runners, "_CARDS", (*runners._CARDS, *cards, absent))
