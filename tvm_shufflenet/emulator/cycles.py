"""llvm-mca's estimate of the cycles that counted blocks take on a core.

A coarse ranking, not a prediction: each block is taken to repeat by itself with every access a
hit. Do not call differences below 30 %. LLVM's model of the Cortex-A53 is off by a factor of two
to three; for in-order cores the one of the Cortex-A55 is used instead.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from tvm_shufflenet.emulator.blocks import Block
from tvm_shufflenet.emulator.counting import Counts
from tvm_shufflenet.emulator.instructions import classify, disassemble
from tvm_shufflenet.emulator.llvm_tools import run_llvm
from tvm_shufflenet.errors import ToolchainError

_MODELS = {"cortex-a53": "cortex-a55"}  # core -> LLVM's scheduling model that stands in for it
_COVERED = 0.995  # share of all instructions whose blocks are analyzed; the rest is scaled
_FEW, _MANY = 40, 140  # iterations; the difference is free of the start
_AT_ONCE = 40  # blocks in one run of llvm-mca
_LONGEST = 2000  # instructions in a joined block

_Code = tuple[str, ...]


def estimated_cycles(counts: Counts) -> float:
    """Return the estimated cycles of one inference; needs `counts.blocks`.

    Raises:
        ToolchainError: if llvm-mca fails.
    """
    assembly = disassemble(word for block in counts.blocks for word in block.code)
    executions: Counter[_Code] = Counter()
    for block in _joined(counts.blocks, assembly):
        executions[block.code] += block.executions
    total = sum(len(code) * times for code, times in executions.items())
    hot, covered = _hottest(executions, total)
    cycles = dict(zip(hot, _analyze(hot, assembly, counts.cpu), strict=True))
    return sum(cycles[code] * executions[code] for code in hot) * total / covered


def _hottest(executions: Counter[_Code], total: int) -> tuple[list[_Code], int]:
    hot, covered = [], 0
    for code, times in sorted(executions.items(), key=lambda entry: -len(entry[0]) * entry[1]):
        hot.append(code)
        covered += len(code) * times
        if covered >= _COVERED * total:
            break
    return hot, covered


def _joined(blocks: Iterable[Block], assembly: dict[str, str]) -> Iterator[Block]:
    """Join blocks that QEMU cut at a page or at its limit with the one that follows."""
    starts: dict[int, list[Block]] = {}
    for block in blocks:
        starts.setdefault(block.address, []).append(block)
    used: set[Block] = set()
    for block in sorted(blocks, key=lambda one: one.address):
        if block in used:
            continue
        used.add(block)
        code = block.code
        while classify(assembly[code[-1]]) != "branch" and len(code) < _LONGEST:
            end = block.address + 4 * len(code)
            following = [
                other
                for other in starts.get(end, [])
                if other.executions == block.executions and other not in used
            ]
            if len(following) != 1:
                break
            used.add(following[0])
            code += following[0].code
        yield Block(block.address, block.executions, code)


def _analyze(codes: Sequence[_Code], assembly: dict[str, str], cpu: str) -> Iterator[float]:
    """Yield the cycles of one pass through each code, repeated for ever."""
    for at in range(0, len(codes), _AT_ONCE):
        part = codes[at : at + _AT_ONCE]
        lines = []
        for number, code in enumerate(part):
            lines += [f"// LLVM-MCA-BEGIN {number}", *(assembly[word] for word in code)]
            lines.append("// LLVM-MCA-END")
        text = "\n".join(lines) + "\n"
        few, many = (_total_cycles(text, cpu, iterations) for iterations in (_FEW, _MANY))
        for number, code in enumerate(part):
            name = str(number)
            # A block of nothing that llvm-mca knows counts one cycle an instruction.
            known = name in few and name in many
            yield (many[name] - few[name]) / (_MANY - _FEW) if known else float(len(code))


def _total_cycles(text: str, cpu: str, iterations: int) -> dict[str, int]:
    arguments = ["-mtriple=aarch64", f"-mcpu={_MODELS.get(cpu, cpu)}", "-mattr=+all"]
    arguments += [f"-iterations={iterations}", "-json", "-all-views=false", "-summary-view"]
    output, _ = run_llvm("mca", [*arguments, "-skip-unsupported-instructions=any"], text)
    try:
        regions = json.loads(output)["CodeRegions"]
        return {
            region["Name"]: int(region["SummaryView"]["TotalCycles"])
            for region in regions
            if "SummaryView" in region
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ToolchainError(f"llvm-mca answered something unexpected: {error}") from error
