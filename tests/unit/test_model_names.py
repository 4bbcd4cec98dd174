"""Names, widths and costs of the networks: everything that is known without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_shufflenet import models
from tvm_shufflenet.errors import ModelError
from tvm_shufflenet.models.naming import GROUPS, ShuffleNetVariant, parse
from tvm_shufflenet.models.widths import widths

PAPER_MILLIONS = {
    "shufflenet_v1_g1_x1.0": 143,
    "shufflenet_v1_g2_x1.0": 140,
    "shufflenet_v1_g3_x1.0": 137,
    "shufflenet_v1_g4_x1.0": 133,
    "shufflenet_v1_g8_x1.0": 137,
    "shufflenet_v1_g4_x0.5": 38,
    "shufflenet_v1_g8_x0.25": 13,
    "shufflenet_v1_g3_x1.5": 292,
    "shufflenet_v1_g3_x2.0": 524,
    "shufflenet_v1_g3_x0.5_arch2": 40,
    "shufflenet_v1_g8_x0.5_arch2": 40,
    "shufflenet_v1_g8_x0.25_arch2": 13,
    "shufflenet_v1_g3_x0.5_shallow": 40,
    "alexnet": 720,
}
# Printed by Megvii for its 0.5x, 1x, 1.5x and 2x networks.
MEGVII_MILLIONS = {3: (38, 138, 292, 524), 8: (40, 138, 290, 522)}
# What pytorchcv asserts of its own networks.
PYTORCHCV_PARAMETERS = {
    "g1_x1.0": 1531936,
    "g2_x1.0": 1733848,
    "g3_x1.0": 1865728,
    "g4_x1.0": 1968344,
    "g8_x1.0": 2434768,
    "g1_x0.75": 975214,
    "g3_x0.75": 1238266,
    "g1_x0.5": 534484,
    "g3_x0.5": 718324,
    "g1_x0.25": 209746,
    "g3_x0.25": 305902,
}

variants = st.builds(
    ShuffleNetVariant,
    groups=st.sampled_from(GROUPS[1:]),
    scale=st.decimals(min_value="0.2", max_value=4, places=2).map(float),
    arch2=st.booleans(),
    shuffle=st.booleans(),
)


@pytest.mark.parametrize("name", models.names())
def test_every_listed_name_is_canonical(name):
    variant = parse(name)
    assert (variant.name if variant else "alexnet") == name


def test_names_are_listed_once_and_the_papers_come_first():
    assert len(set(models.names())) == len(models.names())
    assert models.names()[: len(models.paper_names())] == models.paper_names()


@given(variants)
def test_formatting_and_parsing_undo_each_other(variant):
    assert parse(variant.name) == variant


def test_a_scale_that_is_not_listed_parses_and_gets_its_canonical_name():
    assert parse("shufflenet_v1_g3_x0.75") == ShuffleNetVariant(scale=0.75)
    assert parse("shufflenet_v1_g3_x1").name == "shufflenet_v1_g3_x1.0"
    assert parse("shufflenet_v1_g8_x0.50_noshuffle_arch2").name == (
        "shufflenet_v1_g8_x0.5_arch2_noshuffle"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("alexnett", "did you mean 'alexnet'?"),
        ("shufflenet_g3_x1.0", "did you mean 'shufflenet_v1_g3_x1.0'?"),
        ("shufflenet_v1_g3_x0.5_arch3", "did you mean 'arch2'?"),
        ("shufflenet_v1_g5_x1.0", "groups are 1, 2, 3, 4 or 8"),
        ("shufflenet_v1_g3_x0", "scale 0 is out of range"),
        ("shufflenet_v1_g3_x99", "scale 99 is out of range"),
        ("shufflenet_v1_g3_x0.5_arch2_shallow", "two different networks"),
        ("shufflenet_v1_g3_x0.5_arch2_arch2", "repeat or exclude"),
        ("shufflenet_v1_g3_x1.0_megvii_jaxony", "repeat or exclude"),
        ("shufflenet_v1_g1_x1.0_noshuffle", "no shuffle to leave out"),
        ("shufflenet_v1_g4_x1.0_megvii", "it has g3_x0.5"),
        ("shufflenet_v1_g3_x0.5_arch2_megvii", "has no weights for 'shufflenet_v1_g3_x0.5_arch2'"),
        ("", "'tvm-shufflenet models' lists them"),
    ],
)
def test_a_name_that_does_not_exist_is_refused_with_advice(name, said):
    with pytest.raises(ModelError) as refused:
        parse(name)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@given(variants)
def test_groups_divide_every_layer_whatever_the_scale(variant):
    width = widths(variant)
    inputs = width.conv1
    for outputs in width.stages:
        assert outputs % 4 == 0
        assert (outputs // 4) % variant.groups == 0
        assert (outputs - inputs) % variant.groups == 0
        inputs = outputs


@given(variants.filter(lambda variant: not variant.arch2))
def test_no_layer_is_narrower_than_the_scaled_table_nor_a_whole_step_wider(variant):
    width = widths(variant)
    whole = widths(ShuffleNetVariant(groups=variant.groups))
    for outputs, unscaled in zip(width.stages, whole.stages, strict=True):
        step = 4 * variant.groups
        assert outputs > variant.scale * unscaled - 1e-6
        assert outputs < variant.scale * unscaled + step


def test_scaling_is_exact_where_floating_point_is_not():
    assert 200 * 0.56 > 112  # which rounding up would turn into 120
    assert widths(ShuffleNetVariant(groups=2, scale=0.56)).stages == (112, 224, 448)


def test_the_widths_of_table_1_and_of_the_arch2_that_table_8_times():
    assert widths(ShuffleNetVariant(groups=4)).stages == (272, 544, 1088)
    timed = widths(ShuffleNetVariant(groups=3, scale=0.5, arch2=True))
    assert (timed.conv1, timed.stages, timed.units) == (12, (132, 264, 528), (4, 6, 4))


def test_a_scale_too_small_for_the_stages_to_grow_is_refused():
    with pytest.raises(ModelError, match="use a larger scale"):
        widths(ShuffleNetVariant(groups=8, scale=0.01))


@pytest.mark.parametrize(("name", "millions"), PAPER_MILLIONS.items())
def test_multiply_adds_are_the_papers_within_three_percent_or_explained(name, millions):
    card = models.card(name)
    assert card.paper_multiply_adds == millions * 1_000_000
    within = abs(card.multiply_adds / (millions * 1e6) - 1) <= 0.03
    assert within or "conv1 is scaled with the rest, to 8 filters" in card.note
    assert within or name == "shufflenet_v1_g8_x0.25"  # the only headline figure that is off


@pytest.mark.parametrize("name", models.names())
def test_a_card_has_a_note_exactly_where_the_paper_is_off_by_more_than_three_percent(name):
    card = models.card(name)
    off = card.difference is not None and abs(card.difference) > 0.03
    assert bool(card.note) == off


@pytest.mark.parametrize("groups", MEGVII_MILLIONS)
def test_megviis_networks_cost_what_megvii_says(groups):
    for scale, millions in zip((0.5, 1.0, 1.5, 2.0), MEGVII_MILLIONS[groups], strict=True):
        card = models.card(f"shufflenet_v1_g{groups}_x{scale}_megvii")
        assert abs(card.multiply_adds / 1e6 - millions) <= 0.6


@pytest.mark.parametrize(("size", "parameters"), PYTORCHCV_PARAMETERS.items())
def test_pytorchcvs_networks_have_the_parameters_that_pytorchcv_asserts(size, parameters):
    assert models.card(f"shufflenet_v1_{size}_pytorchcv").parameters == parameters


def test_megviis_networks_want_raw_bgr_bytes_and_the_others_normalized_rgb():
    raw = models.card("shufflenet_v1_g3_x1.0_megvii").preprocessing
    assert (raw.channel_order, raw.scale, raw.mean, raw.std) == ("BGR", 1.0, (0,) * 3, (1,) * 3)
    usual = models.preprocessing("shufflenet_v1_g3_x1.0")
    assert (usual.channel_order, usual.resize, usual.crop) == ("RGB", 256, 224)
    assert 0.9 < usual.input_rms < 1.5
    assert 140 < raw.input_rms < 155  # sqrt(127.5² + 255²/12)


@pytest.mark.parametrize(("name", "side"), [("shufflenet_v1_g3_x1.0", 32), ("alexnet", 63)])
def test_a_size_below_the_smallest_is_refused(name, side):
    models.check_input_size(name, (side, side))
    with pytest.raises(ModelError, match=f"at least {side} pixels"):
        models.check_input_size(name, (side, side - 1))
    with pytest.raises(ModelError, match=f"{side - 1}x{side}"):
        models.multiply_adds(name, (side - 1, side))


def test_nothing_of_this_imports_torch_or_tvm():
    script = (
        "import sys; from tvm_shufflenet import models; import tvm_shufflenet.models as m\n"
        "[m.card(n) for n in m.names()]; m.multiply_adds('alexnet', (480, 640))\n"
        "print(*sorted({'torch', 'tvm', 'numpy'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""
