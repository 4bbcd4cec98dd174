"""Networks from PyTorch or ONNX as Relay: one input called ``input``, float32, NCHW."""

from tvm_shufflenet.frontend.onnx import from_onnx
from tvm_shufflenet.frontend.torch import from_torch

__all__ = ["from_onnx", "from_torch"]
