"""Small networks and the way from them to outputs, for tests of passes, kernels and packages."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tvm_shufflenet import ops
from tvm_shufflenet.boards import load_board
from tvm_shufflenet.compiler import PASS_CONFIG, load_tvm
from tvm_shufflenet.frontend import from_torch
from tvm_shufflenet.models.initialization import initialize
from tvm_shufflenet.passes.pack_weights import PackWeights
from tvm_shufflenet.passes.pipeline import PipelineOptions, pipeline, run
from tvm_shufflenet.tuning import history

Shape = tuple[int, int, int, int]


def seeded(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give `module` weights and BatchNorm statistics that make every term count."""
    initialize(module.eval(), seed, 1.0)
    return module


def pixels(shape: Shape, seed: int = 1) -> np.ndarray:
    """Random input of a network."""
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def expected_of(module: nn.Module, x: np.ndarray) -> np.ndarray:
    """What PyTorch computes."""
    with torch.no_grad():
        result: np.ndarray = module(torch.from_numpy(x)).numpy()
    return result


def lowered(mod: Any, board: str = "local", merge: bool = True) -> Any:
    """Run the pass pipeline on an imported module."""
    machine = load_board(board).machine
    return run(mod, pipeline(PipelineOptions(machine=machine, merge_shuffles=merge)))


def built(mod: Any, board: str = "local") -> Any:
    """Build a lowered module as packages are built, untuned; return the executor factory."""
    tvm = load_tvm()
    from tvm import relay

    machine = load_board(board)
    with history.apply(None, machine) as applied:
        packed = PackWeights(machine.target())(mod)
        config = {**PASS_CONFIG, **applied.pass_config}
        with tvm.transform.PassContext(opt_level=3, config=config):
            return relay.build(packed, machine.target(), mod_name="default")


def output_of(factory: Any, x: np.ndarray) -> np.ndarray:
    """Run a built network on this machine."""
    tvm = load_tvm()
    from tvm.contrib import graph_executor

    module = graph_executor.GraphModule(factory["default"](tvm.cpu()))
    module.set_input("input", x)
    module.run()
    result: np.ndarray = module.get_output(0).numpy()
    return result


def compiled_output(
    module: nn.Module, x: np.ndarray, board: str = "local", merge: bool = True
) -> np.ndarray:
    """What `module` computes once compiled."""
    mod = lowered(from_torch(module, x.shape), board, merge)
    return output_of(built(mod, board), x)


def operators(mod: Any) -> Counter[str]:
    """Count the operators called in a Relay module."""
    from tvm import relay

    found: Counter[str] = Counter()

    def look(node: Any) -> None:
        if isinstance(node, relay.Call):
            found[getattr(node.op, "name", "function").removeprefix(ops.PREFIX)] += 1

    relay.analysis.post_order_visit(mod["main"], look)
    return found


class Written(nn.Module):
    """A network written down as a function of itself and its input."""

    def __init__(self, forward: Callable[[Any, torch.Tensor], torch.Tensor], **parts: Any) -> None:
        super().__init__()
        self.written = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Do what was written."""
        return self.written(self, x)


def notes(mod: Any, key: str) -> list[str]:
    """What a pass left in a module's attributes."""
    attributes = dict(mod.attrs) if mod.attrs is not None else {}
    return [str(note) for note in attributes.get(key, [])]


def function(inputs: list[Any], body: Any) -> Any:
    """A typed module of one function."""
    tvm = load_tvm()
    from tvm import relay

    return relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function(inputs, body)))


def values(shape: tuple[int, ...], seed: int = 0) -> Any:
    """A Relay constant with random values, none of them near zero or negative."""
    from tvm import relay

    drawn = np.random.default_rng(seed).uniform(0.5, 1.5, shape)
    return relay.const(drawn.astype("float32"))


def exported(module: nn.Module, shape: Shape, folder: Path) -> Path:
    """Export `module` to ONNX as torch does by default."""
    path = folder / "network.onnx"
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (torch.zeros(shape),), path, external_data=False, verbose=False, dynamo=True
        )
    return path
