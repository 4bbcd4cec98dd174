"""Register tiles: which pixels × channels blocks of the output a core can hold in registers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm_shufflenet.boards import Machine, machine_of_model
from tvm_shufflenet.schedules.channels import grain

_STACK_BYTES = 1024  # TVM puts buffers of so many bytes on the heap, where LLVM cannot promote them
FEW_REGISTERS = 16
_IDLE = 0.05
_LONGEST_ROW = 12  # vectors
_WEIGHTS = 3  # registers for weights on machines whose multiply-adds take registers only
# Of machines whose multiply-adds take operands from memory (x86):
_LATENCY = 4  # cycles until a multiply-add's result can be added to
_LOADS_PER_CYCLE = 2
_FINISHING = 3  # instructions for each vector that is stored, counted as multiply-adds


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


def row_width(machine: Machine, channels: int) -> int:
    """Return the vectors, in lanes, that a product's row of `channels` is cut into.

    The last one may be shorter by half: on AVX-512, 40 channels are vectors of 16, 16 and 8.
    Where vectors are computed in halves, a short row is better of halves alone: 24 channels take
    the same time as 16 and 8, but leave no gaps.
    """
    half = grain(machine) < machine.lanes and channels % machine.lanes == grain(machine)
    shortest = 2 * machine.lanes if machine.in_halves else machine.lanes
    return machine.lanes if half and channels > shortest else vector_width(machine, channels)


def vectors(machine: Machine, channels: int) -> int:
    """Return how many vectors hold a product's row of `channels`."""
    return -(-channels // row_width(machine, channels))


def fits(machine: Machine, inputs: int, pixels: int, channels: int) -> bool:
    """Tell whether a tile's accumulators and operands fit the vector registers.

    A tile needs its accumulators, `inputs` registers, each of which may hold several inputs, and
    a row of weights. Where a multiply-add takes no operand from memory, a long row passes through
    three registers.
    """
    row = vectors(machine, channels)
    if 4 * pixels * channels >= _STACK_BYTES:
        return False
    weights = row if machine.fma_from_memory else min(row, _WEIGHTS)
    return pixels * row + weights + inputs <= machine.vector_registers


def loads_per_multiply_add(machine: Machine, pixels: int, channels: int, depth: int) -> float:
    """Return what a tile's loads cost for each of its vector multiply-adds.

    Weights of a tile are read anew for each tile of pixels: from the second-level cache, at twice
    the cost, if they do not fit the first.
    """
    row = vectors(machine, channels)
    if machine.fma_from_memory:
        near = 4 * depth * channels <= 1024 * machine.l1d_kib
        return 1 / row + (1 if near else 2) / pixels
    # Weights come in pairs (ldp), inputs four channels at a time.
    return 0.5 / pixels + 0.25 / row


def best_tile(
    machine: Machine, pairs: list[tuple[int, int]], depth: int, pixels: int
) -> tuple[int, int]:
    """Return the (pixels, channels) tile that costs the least.

    Loads run beside multiply-adds where these take operands from memory: they cost most where
    they are more. So does finishing: a row that ends with half a vector is stored in halves.
    Places that stay idle count: those of a tile that is cut off, lanes of a short vector, and
    those in the shadow of a multiply-add that waits, where accumulators are few.
    """

    def cost(pair: tuple[int, int]) -> tuple[float, int]:
        tile, channels = pair
        loads = loads_per_multiply_add(machine, *pair, depth)
        cut = whole(pixels, tile) / pixels
        if not machine.fma_from_memory:
            return cut * loads, -channels
        rate = _multiply_adds_per_cycle(machine, channels)
        loading = loads * rate / _LOADS_PER_CYCLE
        waiting = _LATENCY * rate / (tile * vectors(machine, channels))
        stores = channels / vector_width(machine, channels) / vectors(machine, channels)
        each = max(1.0, loading, waiting) + loading / 2 + _FINISHING * stores / depth
        return cut * each * _idle_lanes(machine, channels), -channels

    return min(pairs, key=cost)


def _multiply_adds_per_cycle(machine: Machine, channels: int) -> int:
    """Return how many vector multiply-adds of a row of channels start in a cycle."""
    narrow = machine.lanes // row_width(machine, channels) if machine.in_halves else 1
    return machine.fma_per_cycle * narrow


def _idle_lanes(machine: Machine, channels: int) -> float:
    """Return the lanes that are paid for in a row of channels over those that compute."""
    paid = grain(machine) if machine.in_halves else machine.lanes
    return whole(channels, paid) / channels


def channel_tiles(machine: Machine, block: int) -> list[int]:
    """Return the channel tiles that divide a block into vectors, of which the last may be half."""
    unit = min(grain(machine), vector_width(machine, block))
    tiles = [unit * count for count in divisors(block // unit)]
    return [tile for tile in tiles if vectors(machine, tile) <= _LONGEST_ROW]


def whole(pixels: int, tile: int) -> int:
    """Return `pixels` rounded up to whole tiles."""
    return -(-pixels // tile) * tile


def pixel_tiles(pixels: int, machine: Machine, *, cut: bool) -> list[int]:
    """Return the pixel tiles worth trying: divisors that registers can hold.

    A small register file needs more choice (49 has no divisor but 7): with `cut`, tiles too of
    which the last one is cut off, if that leaves few places idle.
    """
    most = machine.vector_registers - 4
    if not cut or not machine.fma_from_memory or machine.vector_registers > FEW_REGISTERS:
        return [tile for tile in divisors(pixels) if tile <= most]
    tiles = range(1, min(pixels, most) + 1)
    return [tile for tile in tiles if whole(pixels, tile) <= (1 + _IDLE) * pixels]


def knob(cfg: Any, name: str, candidates: list[int], default: int) -> None:
    """Define a knob, and its value where no record is known."""
    from tvm.autotvm.task.space import OtherOptionEntity

    cfg.define_knob(name, candidates)
    if cfg.is_fallback:
        cfg[name] = OtherOptionEntity(default)
