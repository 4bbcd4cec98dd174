"""An ONNX file becomes Relay; its one image input is renamed to ``input``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tvm_shufflenet.compiler import load_tvm
from tvm_shufflenet.errors import ModelError
from tvm_shufflenet.frontend.torch import INPUT_NAME, Shape


def from_onnx(path: str | Path, shape: Shape) -> Any:
    """Read the ONNX network at `path` for a float32 NCHW input of `shape`.

    Raises:
        ModelError: if the file is no ONNX network, has not exactly one input, or uses operators
            that Relay cannot convert.
    """
    import onnx

    tvm = load_tvm()
    from tvm import relay

    try:
        network = onnx.load(str(path))
        onnx.checker.check_model(network)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # protobuf and the checker have no common base class
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise ModelError(f"{path} is not a valid ONNX network: {reason}") from error
    initializers = {tensor.name for tensor in network.graph.initializer}
    inputs = [value.name for value in network.graph.input if value.name not in initializers]
    if len(inputs) != 1:
        raise ModelError(f"{path} has {len(inputs)} inputs ({', '.join(inputs)}); one is needed")
    _rename_input(network.graph, inputs[0])
    try:
        mod, _ = relay.frontend.from_onnx(network, {INPUT_NAME: shape}, freeze_params=True)
    except (tvm.error.OpNotImplemented, tvm.error.OpAttributeInvalid, tvm.TVMError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
        raise ModelError(f"{path} cannot be imported into Relay: {reason}") from error
    return relay.transform.DynamicToStatic()(relay.transform.InferType()(mod))


def _rename_input(graph: Any, name: str) -> None:
    for value in graph.input:
        if value.name == name:
            value.name = INPUT_NAME
    for node in graph.node:
        for position, source in enumerate(node.input):
            if source == name:
                node.input[position] = INPUT_NAME
