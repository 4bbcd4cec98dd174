"""Find local response normalization in the many operators that PyTorch spells it with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RecognizeLocalResponseNorm:
    """x / (k + alpha · avg_pool3d(pad(x²))) ** beta, over the channels, becomes ``nn.lrn``.

    Only the spelling of ``torch.nn.functional.local_response_norm`` for NCHW is recognized, and
    only windows of odd size: around even ones Relay's operator has another middle.
    """

    name: str = "recognize_local_response_norm"

    def __call__(self, mod: Any) -> Any:
        """Return the module with ``nn.lrn`` in place of its expansion."""
        from tvm import relay
        from tvm.relay.dataflow_pattern import (
            DFPatternCallback,
            is_constant,
            is_op,
            rewrite,
            wildcard,
        )

        class Rewriter(DFPatternCallback):
            def __init__(self) -> None:
                super().__init__(require_type=True)
                self.x, self.alpha, self.k, self.beta = (
                    wildcard(),
                    is_constant(),
                    is_constant(),
                    is_constant(),
                )
                square = is_op("multiply")(self.x, self.x)
                padded = is_op("nn.pad")(is_op("reshape")(square), is_constant())
                self.pooled = is_op("nn.avg_pool3d")(padded)
                # One reshape brings the four dimensions back; canonicalization may have dropped
                # what PyTorch has besides it.
                mean = is_op("squeeze")(self.pooled) | is_op("reshape")(self.pooled)
                mean = is_op("reshape")(mean) | mean
                total = is_op("add")(is_op("multiply")(mean, self.alpha), self.k)
                self.pattern = is_op("divide")(self.x, is_op("power")(total, self.beta))

            def callback(self, pre: Any, post: Any, matched: Any) -> Any:
                size = int(matched[self.pooled][0].attrs.pool_size[0])
                if size % 2 == 0:
                    return post
                alpha, k, beta = (
                    matched[part][0].data.numpy().item() for part in (self.alpha, self.k, self.beta)
                )
                return relay.nn.lrn(matched[self.x][0], size, 1, k, alpha, beta)

        mod["main"] = rewrite(Rewriter(), mod["main"])
        return relay.transform.InferType()(mod)
