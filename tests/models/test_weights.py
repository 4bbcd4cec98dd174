"""Checkpoints of our own layout, and everything that can be wrong with one."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_shufflenet import models
from tvm_shufflenet.errors import WeightsError

NAME = "shufflenet_v1_g3_x0.25"


@pytest.fixture
def state():
    return models.build(NAME, seed=9).state_dict()


def refused(tmp_path, content):
    file = tmp_path / "weights.pth"
    torch.save(content, file)
    with pytest.raises(WeightsError) as error:
        models.build(NAME, weights=file)
    said = str(error.value)
    assert "weights.pth" in said
    assert "\n" not in said
    assert error.value.exit_code == 3
    return said


def test_saved_weights_come_back(state, tmp_path):
    torch.save(state, tmp_path / "weights.pth")
    loaded = models.build(NAME, weights=tmp_path / "weights.pth")
    assert not loaded.training
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_half_precision_weights_become_float32(state, tmp_path):
    halves = {key: value.half() for key, value in state.items() if value.is_floating_point()}
    torch.save(halves, tmp_path / "weights.pth")
    loaded = models.build(NAME, weights=tmp_path / "weights.pth")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded.fc.weight, state["fc.weight"].half().float())


def test_the_first_missing_unexpected_and_misshaped_keys_are_named(state, tmp_path):
    del state["stage2.0.compress.0.weight"], state["stage2.1.compress.0.weight"]
    state["head.weight"] = torch.zeros(3)
    state["fc.bias"] = torch.zeros(10)
    said = refused(tmp_path, state)
    assert "missing 'stage2.0.compress.0.weight' and 1 more" in said
    assert "unexpected 'head.weight'" in said
    assert "misshaped 'fc.bias', (10,) instead of (1000,)" in said


def test_weights_of_another_width_do_not_fit(tmp_path):
    said = refused(tmp_path, models.build("shufflenet_v1_g3_x0.5").state_dict())
    assert "misshaped 'conv1.0.weight', (12, 3, 3, 3) instead of (6, 3, 3, 3)" in said


def test_weights_that_are_not_finite_or_not_floating_point_are_refused(state, tmp_path):
    broken = {**state, "fc.bias": state["fc.bias"].clone()}
    broken["fc.bias"][7] = float("nan")
    assert "'fc.bias' holds NaN" in refused(tmp_path, broken)
    integral = {**state, "fc.bias": torch.zeros(1000, dtype=torch.int8)}
    assert "not floating point 'fc.bias', torch.int8" in refused(tmp_path, integral)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "holds no state dict"),
        ({}, "holds no state dict"),
        (torch.zeros(3), "holds no state dict"),
        ({"state_dict": [1]}, "holds no state dict"),
        ({"epoch": 3, "net": {}}, "'epoch' is no named tensor"),
        ({3: torch.zeros(1)}, "3 is no named tensor"),
    ],
)
def test_a_file_with_something_else_in_it_is_refused(tmp_path, content, said):
    assert said in refused(tmp_path, content)


def test_a_pickled_network_is_refused_because_it_would_run_code(tmp_path):
    said = refused(tmp_path, models.build(NAME))
    assert "not a checkpoint of plain tensors" in said


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x80\x02garbage", b"hello"])
def test_a_damaged_file_is_refused(tmp_path, content):
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"weights\.pth"):
        models.build(NAME, weights=file)


def test_a_truncated_checkpoint_is_refused(state, tmp_path):
    file = tmp_path / "weights.pth"
    torch.save(state, file)
    whole = file.read_bytes()
    for length in (len(whole) // 3, len(whole) - 10):
        file.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"weights\.pth"):
            models.build(NAME, weights=file)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_a_checkpoint_with_changed_bytes_is_refused_and_never_raises_anything_else(data):
    content = io.BytesIO()
    torch.save({"fc.bias": torch.zeros(4)}, content, _use_new_zipfile_serialization=False)
    broken = bytearray(content.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.pth"
        file.write_bytes(broken)
        with pytest.raises(WeightsError, match=r"weights\.pth"):
            models.build(NAME, weights=file)  # even unharmed it lacks most keys


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="No such file"):
        models.build(NAME, weights=tmp_path / "nothing.pth")
    with pytest.raises(WeightsError, match="cannot read the weights"):
        models.build(NAME, weights=tmp_path)


def test_a_checkpoint_for_alexnet_loads_and_one_of_shufflenet_does_not(state, tmp_path):
    torch.save(state, tmp_path / "shufflenet.pth")
    with pytest.raises(WeightsError, match=r"missing 'conv1\.0\.bias'"):
        models.build("alexnet", weights=tmp_path / "shufflenet.pth")
    alexnet = models.build("alexnet", seed=2).state_dict()
    torch.save(alexnet, tmp_path / "alexnet.pth")
    loaded = models.build("alexnet", weights=tmp_path / "alexnet.pth")
    assert torch.equal(loaded.fc8.weight, alexnet["fc8.weight"])
