"""Finds the loops of a library's functions in LLVM's disassembly."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from tvm_shufflenet.emulator.llvm_tools import run_llvm

# Vector and scalar float32 multiply-adds as LLVM spells them.
_VECTOR = {
    "aarch64": re.compile(r"^f(mla|mls)\s+v\d+\.(4s|2s)|^fml[as]\s+z\d+\.s"),
    "armv7": re.compile(r"^v(fma|fms|mla|mls)\.f32\s+[qd]\d+"),
    "x86-64": re.compile(r"^vf(n?)m(add|sub)\d+ps\s"),
}
_SCALAR = {
    "aarch64": re.compile(r"^fn?m(add|sub)\s+s\d+"),
    "armv7": re.compile(r"^v(fma|fms|mla|mls)\.f32\s+s\d+"),
    "x86-64": re.compile(r"^vf(n?)m(add|sub)\d+ss\s"),
}
_BRANCH = re.compile(r"^(b|b\.\w+|b[a-z]{2}|cbn?z|tbn?z|j\w+)(\.w)?\s.*?(?<!#)0x([0-9a-f]+) <")


@dataclass(frozen=True)
class Loop:
    """A stretch of code that a branch at its end repeats."""

    vector: int  # vector multiply-adds in it
    scalar: int
    length: int  # instructions


def loops_of(library: Path, arch: str) -> dict[str, list[Loop]]:
    """Return the innermost loops of each function; TVM's parallel bodies count with theirs."""
    names, code = _functions(library)
    found: dict[str, list[Loop]] = defaultdict(list)
    for name, lines in code.items():
        spans = []
        addresses = [address for address, _ in lines]
        for address, text in lines:
            branch = _BRANCH.match(text)
            if branch and addresses[0] <= int(branch[3], 16) <= address:
                spans.append((int(branch[3], 16), address))
        inner = [
            (start, end)
            for start, end in spans
            if not any(start <= a and b <= end and (a, b) != (start, end) for a, b in spans)
        ]
        for start, end in inner:
            texts = [text for address, text in lines if start <= address <= end]
            vector = sum(bool(_VECTOR[arch].match(text)) for text in texts)
            scalar = sum(bool(_SCALAR[arch].match(text)) for text in texts)
            found[names.get(name, name)].append(Loop(vector, scalar, len(texts)))
    return found


def _functions(library: Path) -> tuple[dict[str, str], dict[str, list[tuple[int, str]]]]:
    """Return the kernel that each symbol belongs to, and each symbol's instructions."""
    arguments = ["-d", "--no-show-raw-insn", "--print-imm-hex", str(library)]
    text, _ = run_llvm("objdump", arguments)
    code: dict[str, list[tuple[int, str]]] = defaultdict(list)
    names: dict[str, str] = {}
    symbol = ""
    for line in text.splitlines():
        if head := re.match(r"^[0-9a-f]+ <(\S+)>:$", line):
            symbol = head[1]
            names[symbol] = re.sub(r"_compute_(\.\d+)?$", "", symbol)
        elif body := re.match(r"^\s*([0-9a-f]+):\s+(.*)$", line):
            code[symbol].append((int(body[1], 16), body[2].strip()))
    return names, code
