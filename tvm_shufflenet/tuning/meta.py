"""``LOG.meta.json``: how the records of a log came about."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tvm_shufflenet import __version__
from tvm_shufflenet.boards import Board
from tvm_shufflenet.errors import RecordError
from tvm_shufflenet.tuning.options import TuneOptions

SCHEMA = 1


def meta_path(log: Path) -> Path:
    """Return where the circumstances of `log` are kept."""
    return log.with_suffix(".meta.json")


def load(log: Path) -> dict[str, Any]:
    """Return what is known of how `log` was measured; empty if nothing is.

    Raises:
        RecordError: if the file is damaged.
    """
    path = meta_path(log)
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RecordError(f"cannot read {path} ({error}); remove it, it is not needed") from error
    return content


def save(log: Path, content: dict[str, Any]) -> None:
    """Write the circumstances whole or not at all."""
    path = meta_path(log)
    new = path.with_suffix(".json.new")
    new.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    new.replace(path)


def describe(
    network: str, board: Board, target: str, options: TuneOptions, machine: dict[str, Any]
) -> dict[str, Any]:
    """Return the circumstances of a run; `machine` is what the board says of itself."""
    import tvm

    return {
        "schema": SCHEMA,
        "network": network,
        "board": board.name,
        "model": board.model,
        "target": target,
        "features": list(board.cpu.features),
        "threads": options.threads or board.run.threads,
        "cores": list(board.run.core_mask),
        "measure": asdict(board.measure),
        # Costs of an emulated board: a start for tuning on a real one, no replacement.
        "estimated": board.measure.unit != "seconds",
        "machine": machine,
        "versions": {"tvm_shufflenet": __version__, "tvm": tvm.__version__},
        "git": _git_hash(),
        "options": {
            name: value
            for name, value in asdict(options).items()
            # where things lie on this machine, and how it is reached, is nobody's business
            if name not in ("log", "transfer", "tracker", "host", "key", "templates")
        },
        "updated": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _git_hash() -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
