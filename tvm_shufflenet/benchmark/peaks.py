"""What this machine can do at most: multiply-adds and bytes a second, measured by small kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from tvm_shufflenet.boards import Board, Machine
from tvm_shufflenet.compiler import PASS_CONFIG, load_tvm

_FMA_STEPS = 200_000  # of the loop around the accumulators: about 10 ms
_MEMORY_BYTES = 1 << 27  # a thread: beyond any cache
_BETWEEN_BYTES = (1 << 22, 1 << 24, 1 << 25)  # a thread: where third-level caches end
_REPEAT = 7
_SYMBOL = "peak"
_STREAMS = 8  # vectors summed side by side, so that additions do not limit the reading


@dataclass(frozen=True)
class ReadSpeed:
    """How fast `bytes` are read again and again, by all threads together."""

    bytes: int
    gb_s: float


@dataclass(frozen=True)
class Peaks:
    """Measured limits with `threads` threads."""

    threads: int
    gflops: float  # a multiply-add is two
    reads: tuple[ReadSpeed, ...]  # from half the second-level cache up to memory

    @property
    def cache_gb_s(self) -> float:
        """Reading what fits the second-level cache."""
        return self.reads[0].gb_s

    @property
    def memory_gb_s(self) -> float:
        """Reading beyond the caches."""
        return self.reads[-1].gb_s

    def read_s(self, size_bytes: int) -> float:
        """Return how long reading so much takes, at the speed of the next larger size measured."""
        fitting = (read for read in self.reads if read.bytes >= size_bytes)
        return 1e-9 * size_bytes / next(fitting, self.reads[-1]).gb_s


def measure_peaks(board: Board, threads: int, call: Callable[[Callable[[], Any]], Any]) -> Peaks:
    """Measure on this machine; `call` runs a function where `threads` TVM workers are set up."""
    cached = board.machine.l2_kib * 1024 // 2
    between = (size for size in _BETWEEN_BYTES if size > cached)
    gflops = call(lambda: _gflops(board, threads))
    reads = [
        ReadSpeed(threads * size, call(partial(_gb_s, board, threads, size)))
        for size in (cached, *between, _MEMORY_BYTES)
    ]
    return Peaks(threads, gflops, tuple(reads))


def accumulators(machine: Machine) -> int:
    """Return how many vectors hide the latency of a multiply-add and leave registers to spare."""
    return machine.vector_registers * 3 // 4


def _gflops(board: Board, threads: int) -> float:
    machine = board.machine
    count = threads * accumulators(machine) * machine.lanes
    seconds = _best_s(_fma_kernel(machine, threads), board, count, 2 * machine.lanes, 0.5)
    return 2 * count * _FMA_STEPS / seconds * 1e-9


def _gb_s(board: Board, threads: int, size_bytes: int) -> float:
    lanes = board.machine.lanes
    floats = size_bytes // 4
    floats -= floats % (lanes * _STREAMS)
    # What is cached is read over and over, so that starting the threads does not count.
    passes = max(1, _MEMORY_BYTES // size_bytes)
    kernel = _read_kernel(lanes, threads, floats, passes)
    seconds = _best_s(kernel, board, threads * floats, threads * _STREAMS * lanes, 1.0)
    return threads * floats * passes * 4 / seconds * 1e-9


def _best_s(kernel: Any, board: Board, first: int, second: int, value: float) -> float:
    """Build and run a kernel of two buffers; a peak is the best of its repeats."""
    import numpy as np

    tvm = load_tvm()
    with tvm.transform.PassContext(opt_level=3, config=PASS_CONFIG):
        built = tvm.build(tvm.IRModule({_SYMBOL: kernel}), target=board.target())
    arrays = [tvm.nd.array(np.full(size, value, np.float32)) for size in (first, second)]
    evaluator = built.time_evaluator(_SYMBOL, tvm.cpu(), number=1, repeat=_REPEAT)
    return float(min(evaluator(*arrays).results))


def _fma_kernel(machine: Machine, threads: int) -> Any:
    """acc = acc * a + b on every accumulator, over and over; nothing is loaded or stored."""
    tir = load_tvm().tir
    lanes, chains = machine.lanes, accumulators(machine)
    builder = tir.ir_builder.create()
    out_buffer = tir.decl_buffer((threads * chains * lanes,), "float32", name="out")
    factors_buffer = tir.decl_buffer((2 * lanes,), "float32", name="factors")
    out, factors = builder.buffer_ptr(out_buffer), builder.buffer_ptr(factors_buffer)

    def vector(start: Any) -> Any:
        return tir.Ramp(start, 1, lanes)

    with builder.for_range(0, threads, "thread", kind="parallel") as thread:
        acc = builder.allocate("float32", chains * lanes, "acc", scope="local")
        first = thread * chains * lanes
        for chain in range(chains):
            acc[vector(chain * lanes)] = out[vector(first + chain * lanes)]
        with builder.for_range(0, _FMA_STEPS, "step"):
            for chain in range(chains):
                at = vector(chain * lanes)
                acc[at] = acc[at] * factors[vector(0)] + factors[vector(lanes)]
        for chain in range(chains):
            out[vector(first + chain * lanes)] = acc[vector(chain * lanes)]
    return _function(builder.get(), out_buffer, factors_buffer)


def _read_kernel(lanes: int, threads: int, floats: int, passes: int) -> Any:
    """Sum `floats` numbers a thread into a few vectors, `passes` times."""
    tir = load_tvm().tir
    step = lanes * _STREAMS
    builder = tir.ir_builder.create()
    source_buffer = tir.decl_buffer((threads * floats,), "float32", name="source")
    sums_buffer = tir.decl_buffer((threads * step,), "float32", name="sums")
    source, sums = builder.buffer_ptr(source_buffer), builder.buffer_ptr(sums_buffer)
    with builder.for_range(0, threads, "thread", kind="parallel") as thread:
        acc = builder.allocate("float32", step, "acc", scope="local")
        at = [tir.Ramp(stream * lanes, 1, lanes) for stream in range(_STREAMS)]
        for ramp in at:
            acc[ramp] = tir.Broadcast(tir.FloatImm("float32", 0), lanes)
        with (
            builder.for_range(0, passes, "again"),
            builder.for_range(0, floats // step, "chunk") as chunk,
        ):
            for stream, ramp in enumerate(at):
                start = thread * floats + chunk * step + stream * lanes
                acc[ramp] = acc[ramp] + source[tir.Ramp(start, 1, lanes)]
        for stream, ramp in enumerate(at):
            sums[tir.Ramp(thread * step + stream * lanes, 1, lanes)] = acc[ramp]
    return _function(builder.get(), source_buffer, sums_buffer)


def _function(body: Any, *buffers: Any) -> Any:
    tir = load_tvm().tir
    handles = [tir.Var(f"{buffer.name}_handle", "handle") for buffer in buffers]
    function = tir.PrimFunc(handles, body, buffer_map=dict(zip(handles, buffers, strict=True)))
    return function.with_attr("global_symbol", _SYMBOL).with_attr("tir.noalias", True)
