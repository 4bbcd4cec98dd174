"""What kind of instruction a word of AArch64 code is."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tvm_shufflenet.emulator.llvm_tools import run_llvm

VECTOR_FMA = "vector multiply-add"
CLASSES = (
    VECTOR_FMA,  # fmla, fmls on whole registers
    "vector other",
    "vector load",
    "vector store",
    "scalar float",
    "load",
    "store",
    "prefetch",
    "integer",
    "branch",
)

_BRANCH = re.compile(r"(b|b\..+|bl|br|blr|ret|cbz|cbnz|tbz|tbnz|svc|(bl?r|ret)a.*)$")
_VECTOR = re.compile(r"\bv\d+\.|[ ,{\[]q\d+")
_WHOLE = re.compile(r"v\d+\.(4s|8h|2d)")
_LOADS = ("ldr", "ldp", "ldur", "ld1", "ld2", "ld3", "ld4", "ldn", "ldx", "lda")
_STORES = ("str", "stp", "stur", "st1", "st2", "st3", "st4", "stn", "stx", "stl")


def disassemble(words: Iterable[str]) -> dict[str, str]:
    """Return the assembly of each instruction word (eight hexadecimal digits).

    Words that are no instruction, such as data that lies between code, come back as ``nop``.
    """
    distinct = sorted(set(words))
    lines = [" ".join(f"0x{word[at : at + 2]}" for at in (6, 4, 2, 0)) for word in distinct]
    arguments = ["--disassemble", "-triple=aarch64", "-mattr=+all"]
    output, warnings = run_llvm("mc", arguments, "\n".join(lines))
    found = re.findall(r"^<stdin>:(\d+):\d+: warning: invalid", warnings, re.MULTILINE)
    invalid = {int(line) - 1 for line in found}
    assembly = iter(
        line.split("//")[0].strip().replace("\t", " ")
        for line in output.splitlines()
        if line.strip() and not line.strip().startswith(".")
    )
    return {
        word: "nop" if index in invalid else next(assembly) for index, word in enumerate(distinct)
    }


def classify(assembly: str) -> str:
    """Return which of `CLASSES` an instruction belongs to."""
    name = assembly.split()[0]
    vector = _VECTOR.search(assembly) is not None
    if name in ("fmla", "fmls") and _WHOLE.search(assembly):
        return VECTOR_FMA
    if name.startswith(_LOADS):
        return "vector load" if vector else "load"
    if name.startswith(_STORES):
        return "vector store" if vector else "store"
    if name.startswith("prfm"):
        return "prefetch"
    if _BRANCH.match(name):
        return "branch"
    if vector:
        return "vector other"
    return "scalar float" if name.startswith("f") else "integer"
