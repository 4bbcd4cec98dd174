"""Where published checkpoints differ from the paper's network (no torch here).

Each source trained a structure and key layout of its own; weights only mean something in the
structure they were trained in, so the differences are part of a network's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tvm_shufflenet.models.preprocessing import IMAGENET, RAW_BGR, Preprocessing

PAPER = "paper"


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One source's reading of the paper; the defaults are the paper's."""

    name: str
    title: str
    shuffle_after_depthwise: bool = False  # and then by the inverse permutation
    relu_before_concat: bool = False  # stride 2: on the branch alone, none after the concatenation
    branch_first: bool = False  # stride 2: the branch before the shortcut
    conv_bias: bool = False  # every convolution has a bias
    conv1_norm: bool = True  # BatchNorm and ReLU follow conv1
    fc_bias: bool = True
    log_softmax: bool = False  # the network ends in log-probabilities, not logits
    conv1_filters: dict[float, int] = field(default_factory=dict)  # scale -> where not scaled
    published: tuple[tuple[int, float], ...] = ()  # (groups, scale) with weights to be had
    preprocessing: Preprocessing = IMAGENET


DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Dialect(name=PAPER, title="as in the paper"),
        Dialect(
            name="megvii",
            title="Megvii ShuffleNet-Series",
            shuffle_after_depthwise=True,
            relu_before_concat=True,
            fc_bias=False,
            conv1_filters={1.5: 24},
            published=tuple((groups, scale) for groups in (3, 8) for scale in (0.5, 1.0, 1.5, 2.0)),
            preprocessing=RAW_BGR,
        ),
        Dialect(
            name="pytorchcv",
            title="pytorchcv",
            branch_first=True,
            published=(
                *((groups, 1.0) for groups in (1, 2, 3, 4, 8)),
                *((groups, scale) for scale in (0.75, 0.5, 0.25) for groups in (1, 3)),
            ),
        ),
        Dialect(
            name="jaxony",
            title="jaxony/ShuffleNet",
            conv_bias=True,
            conv1_norm=False,
            log_softmax=True,
            # With one group its last stage has 567 channels, which is another network.
            published=tuple((groups, 1.0) for groups in (2, 3, 4, 8)),
        ),
    )
}
