"""Interleaving stores of AArch64: vectors of several blocks, written as a shuffle has them."""

from __future__ import annotations

from typing import Any

_COUNTS = (2, 3, 4)  # vectors that one instruction interleaves: st2, st3, st4


def can_store(count: int) -> bool:
    """Tell whether the target being compiled for interleaves `count` vectors in one store."""
    from tvm.target import Target

    triple = str(Target.current(allow_none=False).attrs.get("mtriple", ""))
    return triple.startswith("aarch64") and count in _COUNTS


def stores(count: int, lanes: int) -> Any:
    """Return the tensor intrinsic out[lane, i] = rows[i, lane] as one instruction.

    Lane by lane, the same takes a store and mostly an addition for every element.
    """
    from tvm import te, tir

    rows = te.placeholder((count, lanes), "float32", name="rows")
    out = te.compute((lanes, count), lambda lane, i: rows[i, lane], name="interleaved")
    source = tir.decl_buffer(
        rows.shape, "float32", "rows", offset_factor=1, strides=[te.var("row"), 1]
    )
    target = tir.decl_buffer(
        out.shape, "float32", "interleaved", offset_factor=1, strides=[count, 1]
    )

    def store(inputs: Any, outputs: Any) -> Any:
        builder = tir.ir_builder.create()
        vectors = [inputs[0].vload([i, 0], f"float32x{lanes}") for i in range(count)]
        pointer = outputs[0].access_ptr("w")
        name = f"llvm.aarch64.neon.st{count}"
        signature = tir.const(count + 1, "uint32")
        builder.emit(tir.call_llvm_intrin("void", name, signature, *vectors, pointer))
        return builder.get()

    return te.decl_tensor_intrin(out.op, store, binds={rows: source, out: target})
