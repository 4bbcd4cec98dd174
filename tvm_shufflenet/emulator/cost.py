"""What tuning minimizes on an emulated board: instructions plus weighted cache misses.

The weights are in instructions and come from a Cortex-A72 at 1.5 GHz that completes 1.5
instructions a cycle: a line from memory at 4.5 GB/s takes 21 cycles, one from L2 at 16 bytes a
cycle takes 4. They rank schedules; they are no model of a board's time.
"""

from __future__ import annotations

L1_MISS_INSTRUCTIONS = 6
L2_MISS_INSTRUCTIONS = 32

# AutoTVM's and Ansor's logs hold seconds only: one instruction is written as one nanosecond.
SECONDS_PER_INSTRUCTION = 1e-9


def estimated_instructions(instructions: int, l1_misses: int, l2_misses: int) -> int:
    """Return the cost of one run."""
    return instructions + L1_MISS_INSTRUCTIONS * l1_misses + L2_MISS_INSTRUCTIONS * l2_misses
