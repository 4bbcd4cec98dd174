"""The Relay operators of this project: types here, kernels in ``schedules/``.

Activations are matrices of pixels × channels, channels in blocks; convolutions take their bias,
residual and ReLU along, so that a call is exactly one kernel.
"""

from tvm_shufflenet.ops.operators import (
    OPERATORS,
    PREFIX,
    WITH_RESIDUAL,
    Operator,
    attributes_of,
    call,
    ours,
    register,
)

__all__ = [
    "OPERATORS",
    "PREFIX",
    "WITH_RESIDUAL",
    "Operator",
    "attributes_of",
    "call",
    "ours",
    "register",
]
