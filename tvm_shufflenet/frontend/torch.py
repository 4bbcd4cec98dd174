"""A PyTorch module becomes Relay: traced, converted, its parameters bound as constants."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from tvm_shufflenet.compiler import load_tvm
from tvm_shufflenet.errors import ModelError

if TYPE_CHECKING:
    import torch

INPUT_NAME = "input"
Shape = tuple[int, int, int, int]


def from_torch(module: torch.nn.Module, shape: Shape) -> Any:
    """Trace `module` on a float32 NCHW input of `shape` and return it as a Relay module.

    Raises:
        ModelError: if torch cannot trace the module or Relay has no converter for an operator.
    """
    import torch

    tvm = load_tvm()
    from tvm import relay

    try:
        # Tracing warns of itself, and of every shape that becomes a constant, as it is to be here.
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            example = torch.zeros(shape)
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                module.eval(), example, check_trace=False
            )
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise ModelError(
            f"torch cannot trace the network on an input of {shape}: {reason}"
        ) from error
    try:
        mod, params = relay.frontend.from_pytorch(
            traced,
            [(INPUT_NAME, shape)],
            custom_convert_map={
                "aten::channel_shuffle": _channel_shuffle,
                "aten::native_channel_shuffle": _channel_shuffle,
            },
        )
    except (NotImplementedError, tvm.error.OpNotImplemented) as error:
        raise ModelError(f"the network cannot be imported into Relay: {error}") from error
    mod["main"] = relay.build_module.bind_params_by_name(mod["main"], params)
    return relay.transform.InferType()(mod)


def _channel_shuffle(inputs: list[Any], _types: list[str]) -> Any:
    """``torch.nn.ChannelShuffle`` as reshape, transpose, reshape, as ONNX spells it too."""
    from tvm import relay

    images, groups = inputs[0], int(inputs[1])
    batch, channels, height, width = (int(d) for d in _shape_of(images))
    split = relay.reshape(images, (batch, groups, channels // groups, height, width))
    turned = relay.transpose(split, (0, 2, 1, 3, 4))
    return relay.reshape(turned, (batch, channels, height, width))


def _shape_of(expression: Any) -> Any:
    from tvm import relay

    return relay.frontend.common.infer_shape(expression)
