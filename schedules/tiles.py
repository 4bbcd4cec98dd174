"""Register tiles: which pixels × channels blocks of the output a core can hold in registers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm_shufflenet.boards import Machine, machine_of_model

_STACK_BYTES = 1024  # TVM puts buffers of so many bytes on the heap, where LLVM cannot promote them
_FEW_REGISTERS = 16
_IDLE = 0.05
_WEIGHTS = 3  # registers for weights on machines whose multiply-adds take registers only


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One register tile of a matrix product."""

    pixels: int
    channels: int
    unroll: int  # reduction steps unrolled
    channels_outer: bool  # loop over channel tiles outside, pixels inside: weights stay in cache


def current_machine() -> Machine:
    """Return the machine of the target being compiled for."""
    import tvm

    return machine_of_model(str(tvm.target.Target.current(allow_none=False).model))


def current_cores() -> int:
    """Return how many cores the target being compiled for shares a kernel among."""
    import tvm

    return int(tvm.target.Target.current(allow_none=False).attrs.get("num-cores", 1))


def divisors(number: int) -> list[int]:
    """Return the divisors of `number`, ascending."""
    return [candidate for candidate in range(1, number + 1) if number % candidate == 0]


def vector_width(machine: Machine, block: int) -> int:
    """Return the widest vector, in lanes, that divides a channel block."""
    width = machine.lanes
    while block % width:
        width //= 2
    return width


def fits(machine: Machine, inputs: int, pixels: int, channels: int, width: int) -> bool:
    """Tell whether a tile's accumulators and operands fit the vector registers.

    Where a multiply-add reads and broadcasts its operand from memory, a tile needs its
    accumulators, one row of weights and one register to spare. Elsewhere it needs `inputs`
    registers, each of which holds several inputs, and up to three for weights: a longer row of
    weights passes through them.
    """
    rows = channels // width
    if 4 * pixels * channels >= _STACK_BYTES:
        return False
    operands = rows + 1 if machine.fma_from_memory else min(rows, _WEIGHTS) + inputs
    return pixels * rows + operands <= machine.vector_registers


def loads_per_multiply_add(
    machine: Machine, pixels: int, channels: int, width: int, depth: int
) -> float:
    """Return what a tile's loads cost for each of its vector multiply-adds.

    Weights of a tile are read anew for each tile of pixels: from the second-level cache, at twice
    the cost, if they do not fit the first.
    """
    rows = channels // width
    if machine.fma_from_memory:
        near = 4 * depth * channels <= 1024 * machine.l1d_kib
        return 1 / rows + (1 if near else 2) / pixels
    # Weights come in pairs (ldp), inputs four channels at a time.
    return 0.5 / pixels + 0.25 / rows


def best_tile(
    machine: Machine, pairs: list[tuple[int, int]], width: int, depth: int, pixels: int
) -> tuple[int, int]:
    """Return the (pixels, channels) tile whose loads cost the least."""

    def cost(pair: tuple[int, int]) -> tuple[float, int]:
        idle = whole(pixels, pair[0]) / pixels
        return idle * loads_per_multiply_add(machine, *pair, width, depth), -pair[1]

    return min(pairs, key=cost)


def channel_tiles(block: int, width: int) -> list[int]:
    """Return the channel tiles that divide a block into whole vectors."""
    return [tile * width for tile in divisors(block // width) if tile <= 12]


def whole(pixels: int, tile: int) -> int:
    """Return `pixels` rounded up to whole tiles."""
    return -(-pixels // tile) * tile


def pixel_tiles(pixels: int, machine: Machine, *, cut: bool) -> list[int]:
    """Return the pixel tiles worth trying: divisors that registers can hold.

    A small register file needs more choice (49 has no divisor but 7): with `cut`, tiles too of
    which the last one is cut off, if that leaves few places idle.
    """
    most = machine.vector_registers - 4
    if not cut or not machine.fma_from_memory or machine.vector_registers > _FEW_REGISTERS:
        return [tile for tile in divisors(pixels) if tile <= most]
    tiles = range(1, min(pixels, most) + 1)
    return [tile for tile in tiles if whole(pixels, tile) <= (1 + _IDLE) * pixels]


def knob(cfg: Any, name: str, candidates: list[int], default: int) -> None:
    """Define a knob, and its value where no record is known."""
    from tvm.autotvm.task.space import OtherOptionEntity

    cfg.define_knob(name, candidates)
    if cfg.is_fallback:
        cfg[name] = OtherOptionEntity(default)
