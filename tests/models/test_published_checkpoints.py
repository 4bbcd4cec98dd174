"""Checkpoints that people have load under their own keys and give their source's outputs."""

from __future__ import annotations

import pytest
import torch
from published import SOURCES

from tvm_shufflenet import models
from tvm_shufflenet.errors import WeightsError
from tvm_shufflenet.models.dialects import DIALECTS
from tvm_shufflenet.models.key_layouts import recognize

EVERY = [
    (source, groups, scale) for source in SOURCES for groups, scale in DIALECTS[source].published
]


def name_of(source, groups, scale):
    return f"shufflenet_v1_g{groups}_x{scale}_{source}"


@pytest.mark.parametrize(("source", "groups", "scale"), EVERY)
def test_a_checkpoint_gives_the_outputs_of_its_own_network(source, groups, scale, tmp_path):
    make, run = SOURCES[source]
    state = make(groups, scale, seed=groups)
    file = tmp_path / "weights.pth"
    torch.save(dict(state), file)
    net = models.build(name_of(source, groups, scale), weights=file)
    x = torch.randn((1, 3, 224, 224), generator=torch.Generator().manual_seed(11))
    with torch.no_grad():
        expected, found = run(state, x, groups), net(x)
    assert float(expected.std()) > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("source", SOURCES)
def test_the_difference_to_the_papers_structure_is_not_cosmetic(source, tmp_path):
    make, run = SOURCES[source]
    state, x = make(3, 1.0), torch.randn((1, 3, 224, 224))
    file = tmp_path / "weights.pth"
    torch.save(dict(state), file)
    theirs = models.build(name_of(source, 3, 1.0), weights=file)
    paper = models.build("shufflenet_v1_g3_x1.0")
    paper.load_state_dict(theirs.state_dict(), strict=False)
    with torch.no_grad():
        expected, found = run(state, x, 3), paper(x)
    assert float((expected - found).abs().max()) > 0.05 * float(expected.abs().max())


@pytest.mark.parametrize("source", SOURCES)
def test_data_parallel_prefixes_and_a_nested_state_dict_are_understood(source, tmp_path):
    state = {f"module.{key}": value for key, value in SOURCES[source][0](3, 1.0).items()}
    old = {key: value for key, value in state.items() if "num_batches_tracked" not in key}
    torch.save({"epoch": 90, "best_prec1": 62.2, "state_dict": old}, tmp_path / "weights.pth.tar")
    plain = dict(SOURCES[source][0](3, 1.0))
    torch.save(plain, tmp_path / "plain.pth")
    name = name_of(source, 3, 1.0)
    nested = models.build(name, weights=tmp_path / "weights.pth.tar").state_dict()
    flat = models.build(name, weights=str(tmp_path / "plain.pth")).state_dict()
    assert all(torch.equal(nested[key], flat[key]) for key in flat)


@pytest.mark.parametrize("source", SOURCES)
def test_keys_tell_where_a_checkpoint_comes_from(source):
    assert recognize(SOURCES[source][0](3, 1.0)) == source
    assert recognize(models.build(name_of(source, 3, 1.0)).state_dict()) is None


@pytest.mark.parametrize("source", SOURCES)
def test_weights_for_the_wrong_network_say_which_network_they_are_for(source, tmp_path):
    torch.save(dict(SOURCES[source][0](3, 1.0)), tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=f"_x<scale>_{source}'"):
        models.build("shufflenet_v1_g3_x1.0", weights=tmp_path / "weights.pth")


def test_a_misfit_is_named_as_the_file_spells_it(tmp_path):
    state = dict(SOURCES["megvii"][0](3, 1.0))
    state["features.4.extra"] = state.pop("features.4.branch_main_2.0.weight")
    state["classifier.0.weight"] = torch.zeros(10, 960)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(WeightsError) as refused:
        models.build("shufflenet_v1_g3_x1.0_megvii", weights=tmp_path / "weights.pth")
    said = str(refused.value)
    assert "missing 'features.4.branch_main_2.0.weight'" in said
    assert "unexpected 'features.4.extra'" in said
    assert "misshaped 'classifier.0.weight', (10, 960) instead of (1000, 960)" in said


def test_our_own_layout_is_accepted_for_every_source(tmp_path):
    net = models.build("shufflenet_v1_g3_x1.0_jaxony", seed=5)
    torch.save(net.state_dict(), tmp_path / "ours.pth")
    loaded = models.build("shufflenet_v1_g3_x1.0_jaxony", weights=tmp_path / "ours.pth")
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(net(x), loaded(x))
