"""An ONNX file becomes Relay; its one image input is renamed to ``input``."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from tvm_shufflenet.compiler import load_tvm
from tvm_shufflenet.errors import ModelError
from tvm_shufflenet.frontend.torch import INPUT_NAME, Shape


def from_onnx(path: str | Path, shape: Shape) -> Any:
    """Read the ONNX network at `path` for a float32 NCHW input of `shape`.

    Raises:
        ModelError: if the file is no ONNX network, has not exactly one float32 input of four
            dimensions, cannot take an image of `shape`, or uses operators that Relay lacks.
    """
    tvm = load_tvm()
    from tvm import relay

    network = _read(path)
    _offer_mapping()
    _put_axes_into_attributes(network.graph)
    try:
        mod, _ = relay.frontend.from_onnx(
            network, {_input_name(network, path): shape}, freeze_params=True
        )
        mod = relay.transform.DynamicToStatic()(relay.transform.InferType()(mod))
    # The converter has no error of its own: what it cannot do ends in any of these.
    except (tvm.TVMError, ValueError, AssertionError, KeyError, AttributeError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
        raise ModelError(f"{path} cannot be imported into Relay: {reason}") from error
    if len(mod["main"].params) != 1:
        raise ModelError(f"{path} does not use its input, or keeps weights outside of the file")
    return relay.transform.InferType()(_renamed(mod))


def _read(path: str | Path) -> Any:
    import onnx

    try:
        network = onnx.load(str(path))
        onnx.checker.check_model(network)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # protobuf and the checker have no common base class
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise ModelError(f"{path} is not a valid ONNX network: {reason}") from error
    return network


def _input_name(network: Any, path: str | Path) -> str:
    import onnx

    initializers = {tensor.name for tensor in network.graph.initializer}
    inputs = [value for value in network.graph.input if value.name not in initializers]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs)
        raise ModelError(f"{path} has {len(inputs)} inputs ({names}); one is needed")
    kind = inputs[0].type.tensor_type
    if kind.elem_type != onnx.TensorProto.FLOAT or len(kind.shape.dim) != 4:
        raise ModelError(f"{path}: its input {inputs[0].name!r} is no float32 batch of images")
    return str(inputs[0].name)


def _put_axes_into_attributes(graph: Any) -> None:
    """Say what a reduction reduces as ONNX did up to opset 17.

    Of axes that are an input TVM takes the first and silently leaves out the others.
    """
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    for node in graph.node:
        if node.op_type.startswith("Reduce") and len(node.input) == 2:
            axes = constants.get(node.input[1])
            if axes is not None and axes.dims != [0]:
                axes = numpy_helper.to_array(axes).tolist()
                node.attribute.append(helper.make_attribute("axes", axes))
                del node.input[1]


def _renamed(mod: Any) -> Any:
    """Call the one input ``input``."""
    import tvm
    from tvm import relay

    before = mod["main"].params[0]
    after = relay.var(INPUT_NAME, before.checked_type)
    body = relay.bind(mod["main"].body, {before: after})
    return tvm.IRModule.from_expr(relay.Function([after], body))


def _offer_mapping() -> None:
    """Put back ``onnx.mapping``, which TVM 0.19 reads and onnx 1.20 dropped."""
    import onnx

    if "onnx.mapping" in sys.modules or hasattr(onnx, "mapping"):
        return
    mapping = ModuleType("onnx.mapping", _offer_mapping.__doc__)
    types = onnx.helper.get_all_tensor_dtypes()
    mapping.__dict__["TENSOR_TYPE_TO_NP_TYPE"] = {
        kind: onnx.helper.tensor_dtype_to_np_dtype(kind) for kind in types
    }
    sys.modules["onnx.mapping"] = mapping
