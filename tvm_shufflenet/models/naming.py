"""Names of networks: ``shufflenet_v1_g3_x1.0``, ``shufflenet_v1_g8_x0.5_arch2``, ``alexnet``.

Neither TVM nor torch is imported here, so a misspelled name is answered at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tvm_shufflenet.errors import ModelError, did_you_mean
from tvm_shufflenet.models.dialects import DIALECTS, PAPER, Dialect

ALEXNET = "alexnet"
GROUPS = (1, 2, 3, 4, 8)  # the columns of Table 1
MAX_SCALE = 16.0  # 480 M parameters at g=3; beyond it a typing error is likelier than a wish

_NAME = re.compile(
    r"shufflenet_v1_g(?P<groups>\d+)_x(?P<scale>\d+(?:\.\d+)?)(?P<suffixes>(?:_[a-z0-9]+)*)"
)
_SUFFIXES = ("arch2", "shallow", "noshuffle", *(name for name in DIALECTS if name != PAPER))
_LISTING = "'tvm-shufflenet models' lists them"


@dataclass(frozen=True, kw_only=True)
class ShuffleNetVariant:
    """Everything that tells one ShuffleNet v1 from another.

    Raises:
        ModelError: for a combination that does not exist.
    """

    groups: int = 3  # g of the pointwise group convolutions
    scale: float = 1.0  # s of "ShuffleNet s times"
    arch2: bool = False  # two units fewer in stage 3, wider (Sec. 4.1.1)
    shallow: bool = False  # half of the units of stages 2-4, wider (Sec. 4.3)
    shuffle: bool = True  # without: the left column of Table 3
    dialect: str = PAPER  # whose reading of the paper; a key of DIALECTS

    def __post_init__(self) -> None:
        if self.groups not in GROUPS:
            raise ModelError(
                f"a ShuffleNet with {self.groups} groups is not in the paper; "
                f"groups are {', '.join(map(str, GROUPS[:-1]))} or {GROUPS[-1]}"
            )
        if not 0 < self.scale <= MAX_SCALE:
            raise ModelError(
                f"scale {self.scale:g} is out of range; take one above 0 and up to {MAX_SCALE:g}"
            )
        if self.arch2 and self.shallow:
            raise ModelError("arch2 and shallow are two different networks; name one of them")
        if not self.shuffle and self.groups == 1:
            raise ModelError("with one group there is no shuffle to leave out; drop '_noshuffle'")
        self._check_dialect()

    def _check_dialect(self) -> None:
        if self.dialect == PAPER:
            return
        dialect = DIALECTS[self.dialect]
        if self.arch2 or self.shallow or not self.shuffle:
            raise ModelError(
                f"{dialect.title} has no weights for {self._paper_name()!r}; drop '_{dialect.name}'"
            )
        if (self.groups, self.scale) not in dialect.published:
            known = ", ".join(f"g{groups}_x{scale}" for groups, scale in dialect.published)
            raise ModelError(
                f"{dialect.title} has no weights for g{self.groups}_x{self.scale}; it has {known}"
            )

    def _paper_name(self) -> str:
        suffixes = (
            ("arch2", self.arch2),
            ("shallow", self.shallow),
            ("noshuffle", not self.shuffle),
        )
        present = "".join(f"_{suffix}" for suffix, on in suffixes if on)
        return f"shufflenet_v1_g{self.groups}_x{self.scale}{present}"

    @property
    def name(self) -> str:
        """The canonical name; `parse` of it gives this variant back."""
        return self._paper_name() + ("" if self.dialect == PAPER else f"_{self.dialect}")

    @property
    def title(self) -> str:
        """The name as a paper would print it."""
        kinds = [("arch2", self.arch2), ("shallow", self.shallow), ("no shuffle", not self.shuffle)]
        words = [word for word, on in kinds if on] + [f"g = {self.groups}"]
        if self.dialect != PAPER:
            words.append(DIALECTS[self.dialect].title)
        return f"ShuffleNet {self.scale:g}x ({', '.join(words)})"

    @property
    def reading(self) -> Dialect:
        """The dialect's facts."""
        return DIALECTS[self.dialect]


def parse(name: str) -> ShuffleNetVariant | None:
    """Return the ShuffleNet called `name`, or None for ``alexnet``.

    Raises:
        ModelError: for an unknown name, with the nearest known one.
    """
    if name == ALEXNET:
        return None
    match = _NAME.fullmatch(name)
    if match is None:
        raise ModelError(f"unknown network {name!r}{did_you_mean(name, names())}; {_LISTING}")
    suffixes = match["suffixes"].split("_")[1:]
    for suffix in suffixes:
        if suffix not in _SUFFIXES:
            hint = did_you_mean(suffix, _SUFFIXES)
            raise ModelError(
                f"unknown network {name!r}: nothing is called {suffix!r}{hint}; {_LISTING}"
            )
    readings = [suffix for suffix in suffixes if suffix in DIALECTS]
    if len(set(suffixes)) < len(suffixes) or len(readings) > 1:
        raise ModelError(f"unknown network {name!r}: its suffixes repeat or exclude each other")
    return ShuffleNetVariant(
        groups=int(match["groups"]),
        scale=float(match["scale"]),
        arch2="arch2" in suffixes,
        shallow="shallow" in suffixes,
        shuffle="noshuffle" not in suffixes,
        dialect=readings[0] if readings else PAPER,
    )


def _variants() -> list[ShuffleNetVariant]:
    make = ShuffleNetVariant
    every = [make(groups=groups, scale=scale) for scale in (1.0, 0.5, 0.25) for groups in GROUPS]
    every += [make(scale=scale) for scale in (1.5, 2.0)]
    every += [make(groups=g, scale=s, arch2=True) for s in (0.5, 0.25) for g in GROUPS]
    every.append(make(scale=0.5, shallow=True))
    # The rows of Table 3.
    every += [make(scale=scale, shuffle=False) for scale in (1.0, 0.5, 0.25)]
    for groups, scale in ((3, 0.25), (8, 0.5), (8, 0.25)):
        every.append(make(groups=groups, scale=scale, arch2=True, shuffle=False))
    return every


def _imported(dialect: Dialect) -> list[str]:
    return [
        ShuffleNetVariant(groups=groups, scale=scale, dialect=dialect.name).name
        for groups, scale in dialect.published
    ]


_PAPER_NAMES = (*(variant.name for variant in _variants()), ALEXNET)
_ALL_NAMES = (*_PAPER_NAMES, *(n for dialect in DIALECTS.values() for n in _imported(dialect)))


def names() -> tuple[str, ...]:
    """Return the listed networks: the paper's, then those of published checkpoints.

    ShuffleNets of other scales and combinations can be built as well.
    """
    return _ALL_NAMES


def paper_names() -> tuple[str, ...]:
    """Return the networks of the paper's tables, AlexNet last."""
    return _PAPER_NAMES
