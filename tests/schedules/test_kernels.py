"""Every template with its default and with drawn configurations: what its reference computes."""

from __future__ import annotations

import ctypes
import dataclasses
import mmap
import random
from typing import Any

import numpy as np
import pytest

from tvm_shufflenet import schedules
from tvm_shufflenet.boards import load_board
from tvm_shufflenet.compiler import PASS_CONFIG, load_tvm
from tvm_shufflenet.runtime.cpu import features_here
from tvm_shufflenet.schedules import REFERENCES, references
from tvm_shufflenet.schedules.window import Window

_DRAWN = 4  # configurations beside the default one
_EVEN = Window(images=2, height=8, width=12, kh=3, kw=3, stride=1, border=1)
_ODD = Window(images=1, height=9, width=7, kh=3, kw=3, stride=2, border=1)
_FIVE = Window(images=1, height=8, width=8, kh=5, kw=5, stride=1, border=2)


def _tensor(*shape: int) -> tuple[str, tuple[int, ...], str]:
    return "TENSOR", shape, "float32"


def _maps(window: Window, lanes: int) -> tuple[str, tuple[int, ...], str]:
    return _tensor(window.images * window.height * window.width, lanes)


def _geometry(window: Window) -> tuple[int, ...]:
    return tuple(dataclasses.astuple(window))


def _unit(
    window: Window, source: tuple[int, int, int, int], groups: int, block: int, joined: bool
) -> tuple[Any, ...]:
    """Arguments of depthwise_pointwise; `source` as in `Source`."""
    lanes = source[1] // source[2] * source[3]
    outputs = groups * block
    return (
        _maps(window, lanes),
        _tensor(3, 3, lanes),
        _tensor(groups, source[1] // groups, block),
        _tensor(outputs),
        _tensor(window.pixels, outputs) if joined else None,
        _geometry(window),
        source,
        1,
    )


# (shuffle, channels, channels of a block, lanes of a block)
_PLAIN, _SHUFFLED, _PADDED = (1, 48, 16, 16), (3, 48, 16, 16), (3, 30, 10, 12)
_CASES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "dense": ("pointwise", (_tensor(50, 48), _tensor(1, 48, 64), _tensor(64), None,
                            (1, 48, 48, 48), 1)),
    "grouped": ("pointwise", (_tensor(49, 48), _tensor(3, 16, 32), _tensor(96),
                              _tensor(49, 96), _PLAIN, 1)),
    "through the shuffle": ("pointwise", (_tensor(49, 48), _tensor(3, 16, 32), _tensor(96), None,
                                          _SHUFFLED, 0)),
    "clamped at the bias": ("pointwise", (_tensor(49, 48), _tensor(3, 16, 32), _tensor(96),
                                          _tensor(49, 96), _PLAIN, 2)),
    "padded, through the shuffle": ("pointwise", (_tensor(36, 36), _tensor(3, 10, 16), _tensor(48),
                                                  None, _PADDED, 1)),
    "rows that end in half a vector": ("pointwise", (_tensor(49, 48), _tensor(3, 16, 40),
                                                     _tensor(120), _tensor(49, 120), _PLAIN, 1)),
    "short rows": ("pointwise", (_tensor(56, 48), _tensor(3, 16, 24), _tensor(72), None,
                                 _SHUFFLED, 1)),
    "logits": ("pointwise", (_tensor(1, 48), _tensor(1, 48, 1000), _tensor(1000), None,
                             (1, 48, 48, 48), 0)),
    "two groups": ("convolution", (_maps(_EVEN, 32), _tensor(2, 9 * 16, 32), _tensor(64), None,
                                   _geometry(_EVEN), (1, 32, 16, 16), 1)),
    "a window of five": ("convolution", (_maps(_FIVE, 16), _tensor(1, 25 * 16, 16), _tensor(16),
                                         _tensor(64, 16), _geometry(_FIVE), (1, 16, 16, 16), 1)),
    "image": ("image_convolution", (_tensor(2, 3, 8, 12), _tensor(1, 27, 16), _tensor(16),
                                    _geometry(_EVEN), 1)),
    "image, stride 2": ("image_convolution", (_tensor(1, 3, 9, 7), _tensor(1, 27, 16), _tensor(16),
                                              _geometry(_ODD), 0)),
    "3×3": ("winograd", (_maps(_EVEN, 16), _tensor(16, 16, 16), _tensor(16), _geometry(_EVEN), 1)),
    "channel by channel": ("depthwise", (_maps(_EVEN, 48), _tensor(3, 3, 48), _tensor(48),
                                         _geometry(_EVEN), 0)),
    "channel by channel, stride 2": ("depthwise", (_maps(_ODD, 36), _tensor(3, 3, 36), _tensor(36),
                                                   _geometry(_ODD), 1)),
    "unit": ("depthwise_pointwise", _unit(_EVEN, _SHUFFLED, 3, 32, True)),
    "unit, half a vector": ("depthwise_pointwise", _unit(_EVEN, (3, 72, 24, 24), 3, 40, True)),
    "unit, stride 2": ("depthwise_pointwise", _unit(_ODD, _SHUFFLED, 3, 16, False)),
    "unit, padded": ("depthwise_pointwise", _unit(_EVEN, _PADDED, 3, 16, True)),
    "unit of one block": ("depthwise_pointwise", _unit(_EVEN, (3, 60, 60, 64), 3, 16, False)),
    "unit of eight groups": ("depthwise_pointwise", _unit(_ODD, (8, 64, 8, 8), 8, 16, True)),
    "unit without a shuffle": ("depthwise_pointwise", _unit(_EVEN, _PLAIN, 3, 32, False)),
    "largest": ("pooling", (_maps(_ODD, 32), _geometry(_ODD), "max", 0)),
    "average": ("pooling", (_maps(_EVEN, 36), _geometry(_EVEN), "average", 1)),
}  # fmt: skip


def _boards() -> list[str]:
    """The boards for x86 whose code this machine can run."""
    needed = {"x86-avx2": "avx2", "x86-avx512": "avx512f", "x86-zen4": "avx512_bf16"}
    return [name for name, feature in needed.items() if feature in features_here()]


@pytest.mark.parametrize("board", _boards() or ["local"])
@pytest.mark.parametrize("case", _CASES)
def test_kernels_compute_what_their_references_compute(case: str, board: str) -> None:
    tvm = load_tvm()
    from tvm import autotvm, te
    from tvm.autotvm.task.space import FallbackConfigEntity

    operator, arguments = _CASES[case]
    compute, schedule = schedules.register()[operator]
    name, target = f"{operator}.tvm_shufflenet", load_board(board).target()
    space = autotvm.task.create(name, arguments, target).config_space
    valid = [index for index in range(space.range_length) if space.is_index_valid(index)]
    drawn = random.Random(0).sample(valid, min(_DRAWN, len(valid)))
    generator = np.random.default_rng(0)
    tensors = [te.placeholder(a[1]) if _is_tensor(a) else a for a in arguments]
    inputs = [generator.uniform(-1, 1, a[1]).astype("float32") for a in arguments if _is_tensor(a)]
    fenced = [[_fenced(values, behind=behind) for values in inputs] for behind in (False, True)]
    expected = REFERENCES[name](arguments, inputs)
    scale = np.abs(expected).max()
    for config in [FallbackConfigEntity(), *(space.get(index) for index in drawn)]:
        with target, autotvm.task.ApplyConfig(config):
            output = compute(*tensors)
            scheduled = schedule([output])
        signature = [tensor for tensor in tensors if isinstance(tensor, te.Tensor)]
        with tvm.transform.PassContext(opt_level=3, config=PASS_CONFIG):
            kernel = tvm.build(scheduled, [*signature, output], target=target)
        for given in fenced:
            result = tvm.nd.array(np.full(expected.shape, np.nan, "float32"))
            kernel(*map(tvm.nd.from_dlpack, given), result)
            np.testing.assert_allclose(
                result.numpy(), expected, rtol=1e-4, atol=1e-5 * scale, err_msg=str(config)
            )


def _fenced(values: np.ndarray, *, behind: bool) -> np.ndarray:
    """Return an aligned copy that begins, or ends, where memory cannot be read."""
    page, room = mmap.PAGESIZE, -(-values.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    whole = mmap.mmap(-1, page + room + page)
    raw = np.frombuffer(whole, np.uint8)
    for fence in (0, page + room):
        address = ctypes.c_void_p(raw.ctypes.data + fence)
        assert ctypes.CDLL(None).mprotect(address, ctypes.c_size_t(page), 0) == 0
    start = page + ((room - values.nbytes) // 64 * 64 if behind else 0)
    inner = raw[start : start + values.nbytes].view(np.float32).reshape(values.shape)
    inner[:] = values
    return inner


def _is_tensor(argument: Any) -> bool:
    return isinstance(argument, tuple) and argument[:1] == ("TENSOR",)


@pytest.mark.parametrize("board", _boards() or ["local"])
def test_averages_are_joined_with_another_map(board: str) -> None:
    tvm = load_tvm()
    from tvm import te

    generator, copies = np.random.default_rng(0), ((0, 0, 0, 29), (1, 4, 29, 17), (2, 0, 46, 2))
    window = _ODD
    given = [
        _fenced(generator.uniform(-1, 1, shape).astype("float32"), behind=behind)
        for behind in (False, True)
        for shape in ((window.height * window.width, 29), (window.pixels, 21))
    ]
    compute, schedule = schedules.register()["pooled_concatenation"]
    target = load_board(board).target()
    for relu in (0, 1):
        with target, tvm.transform.PassContext(opt_level=3, config=PASS_CONFIG):
            tensors = [te.placeholder(values.shape) for values in given[:2]]
            output = compute(*tensors, _geometry(window), copies, relu)
            kernel = tvm.build(schedule([output]), [*tensors, output], target=target)
        for first, second in (given[:2], given[2:]):
            result = tvm.nd.array(np.full((window.pixels, 48), np.nan, "float32"))
            kernel(*map(tvm.nd.from_dlpack, (first, second)), result)
            expected = references.pooled_concatenation(
                first, second, _geometry(window), copies, relu
            )
            np.testing.assert_allclose(result.numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [2, 30, 53, 106])
@pytest.mark.parametrize("border", [1, 2])
def test_every_first_convolution_can_be_built_for_aarch64(width: int, border: int) -> None:
    """Loops are cut at the border: bounds of unrolled and vectorized loops must stay constant."""
    tvm = load_tvm()
    from tvm import autotvm

    side = 2 * border + 1
    window = Window(1, width, width, side, side, 2, border)
    arguments = (
        _tensor(1, 3, width, width),
        _tensor(1, 3 * side * side, 8),
        _tensor(8),
        _geometry(window),
        1,
    )
    target = load_board("rpi4b").target()
    schedules.register()
    task = autotvm.task.create("image_convolution.tvm_shufflenet", arguments, target)
    space = task.config_space
    for index in filter(space.is_index_valid, range(space.range_length)):
        with target, tvm.transform.PassContext(opt_level=3, config=PASS_CONFIG):
            assert tvm.lower(*task.instantiate(space.get(index)))
