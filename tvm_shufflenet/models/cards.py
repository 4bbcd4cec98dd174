"""What can be said of a network without its weights: size, cost, and the paper's figure."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_shufflenet.models.costs import cost
from tvm_shufflenet.models.dialects import PAPER
from tvm_shufflenet.models.input_size import min_side
from tvm_shufflenet.models.naming import ALEXNET, ShuffleNetVariant
from tvm_shufflenet.models.preprocessing import IMAGENET, Preprocessing
from tvm_shufflenet.models.widths import widths

TOLERANCE = 0.03  # a difference from the paper's figure up to this one needs no note
PUBLISHED_SIZE = (224, 224)  # height and width the paper counts at

_MILLION = 1_000_000
_TABLE_1 = {1: 143, 2: 140, 3: 137, 4: 133, 8: 137}  # scale 1, by groups
# Tables 2, 4 and 5; what is published of Megvii's are the authors' own later networks.
_BY_SCALE = {0.5: 38, 0.25: 13}
_WIDER = {1.5: 292, 2.0: 524}  # g = 3 only
_ARCH2 = {0.5: 40, 0.25: 13}
_SHALLOW = {0.5: 40}  # g = 3 only
_ALEXNET = 720


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Facts about a network.

    `multiply_adds` are those of one 224x224 picture; `paper_multiply_adds` is None where the
    paper gives none; `note` explains a difference of more than 3 %.
    """

    name: str
    title: str
    source: str  # "paper", or whose checkpoints it is for
    parameters: int  # trained ones; BatchNorm's statistics are not counted
    multiply_adds: int
    paper_multiply_adds: int | None
    note: str
    min_side: int  # pixels of the shortest side it takes
    preprocessing: Preprocessing

    @property
    def difference(self) -> float | None:
        """Multiply-adds relative to the paper's: 0.03 is 3 % more; None without a figure."""
        if self.paper_multiply_adds is None:
            return None
        return self.multiply_adds / self.paper_multiply_adds - 1


def make_card(variant: ShuffleNetVariant | None) -> ModelCard:
    """Put the card together; None stands for AlexNet."""
    cost_of_one = cost(variant, PUBLISHED_SIZE)
    paper = published_multiply_adds(variant)
    difference = cost_of_one.multiply_adds / paper - 1 if paper else 0.0
    explain = abs(difference) > TOLERANCE
    return ModelCard(
        name=variant.name if variant else ALEXNET,
        title=variant.title if variant else "AlexNet (two-group convolutions)",
        source=variant.dialect if variant else PAPER,
        parameters=cost_of_one.parameters,
        multiply_adds=cost_of_one.multiply_adds,
        paper_multiply_adds=paper,
        note=_note(variant, more=difference > 0) if variant and explain else "",
        min_side=min_side(variant),
        preprocessing=variant.reading.preprocessing if variant else IMAGENET,
    )


def published_multiply_adds(variant: ShuffleNetVariant | None) -> int | None:
    """Return the paper's complexity of a network at 224x224, if it gives one."""
    if variant is None:
        return _ALEXNET * _MILLION
    groups, scale = variant.groups, variant.scale
    if variant.arch2:
        millions = _ARCH2.get(scale)
    elif variant.shallow:
        millions = _SHALLOW.get(scale) if groups == 3 else None
    elif scale == 1.0:
        millions = _TABLE_1[groups]
    else:
        millions = _BY_SCALE.get(scale) or (_WIDER.get(scale) if groups == 3 else None)
    return millions * _MILLION if millions else None


def _note(variant: ShuffleNetVariant, *, more: bool) -> str:
    filters = widths(variant).conv1
    if more:
        return (
            f"conv1 has {filters} filters, not {24 * variant.scale:g}, for its "
            f"{variant.groups} groups; the paper gives one figure for all groups"
        )
    return (
        f"conv1 is scaled with the rest, to {filters} filters, as Sec. 3.3 says; the paper's "
        "figure, one for all groups, suggests a wider one"
    )
