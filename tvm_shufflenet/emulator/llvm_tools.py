"""LLVM's command-line tools, from the wheel that also brings TVM's compiler its LLVM."""

from __future__ import annotations

import importlib.util
import subprocess
from functools import cache
from pathlib import Path

from tvm_shufflenet.errors import ToolchainError


@cache
def _folder() -> Path:
    spec = importlib.util.find_spec("llvm")
    if spec is None or spec.origin is None:
        raise ToolchainError(
            'LLVM\'s tools are not installed; install them with: pip install "tvm-shufflenet[host]"'
        )
    return Path(spec.origin).parent / "bin"


def run_llvm(tool: str, arguments: list[str], text: str = "") -> tuple[str, str]:
    """Run ``llvm-<tool>`` with `text` on its standard input; return its output and its warnings.

    Raises:
        ToolchainError: if it is not there or fails.
    """
    command = [str(_folder() / f"llvm-{tool}"), *arguments]
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ToolchainError(f"cannot run {command[0]}: {error.strerror}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ToolchainError(f"llvm-{tool} failed: {lines[0]}")
    return done.stdout, done.stderr
