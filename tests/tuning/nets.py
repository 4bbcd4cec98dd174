"""A network small enough to tune in a test, with a convolution of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np

from tvm_shufflenet.boards import Board, load_board
from tvm_shufflenet.compiler import load_tvm
from tvm_shufflenet.tuning.tasks import Network


def small_module() -> Any:
    tvm = load_tvm()
    from tvm import relay

    rng = np.random.default_rng(0)

    def weights(*shape: int) -> Any:
        return relay.const(rng.standard_normal(shape).astype("float32"))

    entry = relay.var("input", shape=(1, 8, 14, 14))
    x = relay.nn.conv2d(entry, weights(16, 8, 3, 3), padding=1, channels=16, kernel_size=3)
    x = relay.nn.relu(x)
    for _ in range(2):
        x = relay.nn.conv2d(x, weights(16, 8, 1, 1), groups=2, channels=16, kernel_size=1)
        x = relay.nn.relu(x)
    x = relay.nn.conv2d(x, weights(16, 1, 3, 3), groups=16, channels=16, kernel_size=3, padding=1)
    x = relay.nn.batch_flatten(relay.nn.global_avg_pool2d(x))
    x = relay.nn.dense(x, weights(10, 16))
    return relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function([entry], x)))


def small_network(board: Board | None = None) -> Network:
    board = board or load_board("local")
    return Network(name="small", mod=small_module(), board=board, target=board.target())
