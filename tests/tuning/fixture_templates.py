"""Templates that misbehave on purpose; imported by tuning workers as well.

``scale`` doubles its input. Its knob "how" takes the values that its second argument lists:
"right" (any suffix), "wrong" (triples instead), and what `fixture_server` does to a server.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import autotvm, te


@autotvm.template("scale.fixture")
def scale(size: int, ways: tuple[str, ...]) -> Any:
    config = autotvm.get_config()
    config.define_knob("how", list(ways))
    config.add_flop(size)
    how = config["how"].val if "how" in config else "right"
    entry = te.placeholder((size,), name="entry")
    if how.startswith(("right", "wrong")):
        factor = 3.0 if how == "wrong" else 2.0
        result = te.compute((size,), lambda i: entry[i] * factor, name="result")
    else:

        def call(inputs: Any, outputs: Any) -> Any:
            return tvm.tir.call_packed(f"fixture.{how}", inputs[0], outputs[0])

        result = te.extern((size,), [entry], call, name="result")
    return te.create_schedule(result.op), [entry, result]
