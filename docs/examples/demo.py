"""The whole product in some minutes: import, tune, compile, run, compare; `make demo` runs it.

    python docs/examples/demo.py                            # writes to build/demo
    python docs/examples/demo.py --trials 1000 --time 20m   # finds faster kernels

Each step is an ordinary command, printed before it runs. Every figure of the summary was measured
in this run, on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NETWORK = "shufflenet_v1_g3_x1.0"
PHOTOGRAPH = Path(os.path.relpath(Path(__file__).parents[2] / "tests" / "data" / "cat.jpg"))
PROGRAM = Path(sys.executable).with_name("tvm-shufflenet")
WORTH_NAMING = 1.02  # less is noise
TURNS = 20  # of untuned and tuned, one after the other


def step(title: str, started: float) -> None:
    """Announce a step and the time since the demo began."""
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    print(f"\n=== [{minutes}:{seconds:02d}] {title}", flush=True)


def call(*arguments: object, quiet: bool = False, into: Path | None = None) -> None:
    """Print a command, run it, and end the demo with its exit code if it fails."""
    words = [str(word) for word in arguments]
    redirected = f" > {shlex.quote(str(into))}" if into else ""
    print(f"$ tvm-shufflenet {shlex.join(words)}{redirected}", flush=True)
    done = subprocess.run(
        [PROGRAM, *words],
        stdout=subprocess.PIPE if into else None,
        stderr=subprocess.DEVNULL if quiet else None,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.returncode)
    if into:
        into.write_bytes(done.stdout)


def in_turns(packages: Sequence[Path]) -> list[float]:
    """Return each package's median milliseconds on one thread, measured in turns."""
    from tvm_shufflenet.runtime import Model

    models = [Model.load(package, threads=1) for package in packages]
    seconds: list[list[float]] = [[] for _ in models]
    for _ in range(TURNS):
        for model, taken in zip(models, seconds, strict=True):
            taken += model.benchmark(repeat=10).seconds
    for model in models:
        model.close()
    return [statistics.median(taken) * 1e3 for taken in seconds]


def gain(untuned_ms: float, tuned_ms: float) -> str:
    """Say what tuning brought, and what it means if that was nothing."""
    ratio = untuned_ms / tuned_ms
    text = f"{untuned_ms:.2f} ms untuned, {tuned_ms:.2f} ms tuned: "
    if ratio >= WORTH_NAMING:
        return f"{text}{ratio:.2f} times as fast."
    return (
        f"{text}no gain worth naming. The untuned kernels are\n"
        "  chosen by the CPU's vector width, registers and caches; to beat them takes more trials."
    )


def steadiness(table: dict[str, Any]) -> str:
    """Say whether the figures of the comparison can be trusted."""
    unsteady = any(result["warnings"] for result in table["results"])
    if not (unsteady or table["warnings"]):
        return "The machine was quiet while this was measured."
    return "The machine was busy while this was measured: expect other figures on a quiet one."


def summary(table: dict[str, Any], seen: dict[str, Any], turns: str, minutes: float) -> str:
    """Say in a few lines what the demo has shown."""
    results = {result["network"]: result for result in table["results"]}
    alexnet = results["alexnet"]["median_ms"]
    ours = results[NETWORK]["median_ms"]
    small = results["shufflenet_v1_g3_x0.5_arch2"]["median_ms"]
    best = seen["images"][0]["top"][0]
    difference = max(result["difference_of_scale"] for result in results.values())
    untrained = "untrained weights: the class means nothing" if seen["untrained"] else "trained"
    return f"""\
- {NETWORK} went from PyTorch through Relay into a package, and the package
  ran without PyTorch: {PHOTOGRAPH.name} is class {best["class"]} ({untrained}).
- One inference takes {turns}
- In turns with AlexNet ({alexnet:.2f} ms), one thread, 224x224, float32:
  ShuffleNet 1x {ours:.2f} ms, {alexnet / ours:.1f} times as fast;
  ShuffleNet 0.5x {small:.2f} ms, {alexnet / small:.1f} times as fast.
- All three agree with PyTorch; the largest difference is {difference:.0e} of the logits' scale.
{steadiness(table)}
It took {minutes:.1f} minutes on this machine's own CPU. For an ARM board: docs/boards.md."""


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=96, help="tuning trials")
    parser.add_argument("--time", default="3m", help="tuning ends after this, too")
    parser.add_argument("--folder", type=Path, default=Path("build/demo"))
    options = parser.parse_args()
    folder: Path = options.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    untuned, tuned, log = folder / "untuned", folder / "tuned", folder / "tuning.json"
    started = time.monotonic()

    step("compile: PyTorch -> Relay -> passes -> package, default schedules", started)
    call("compile", NETWORK, "--untuned", "--threads", 1, "-o", untuned)
    step("tune: an RPC tracker and server on 127.0.0.1 stand in for a board", started)
    budget = ("--trials", options.trials, "--time", options.time)
    call("tune", NETWORK, *budget, "--threads", 1, "--log", log)
    step("compile again, with the records that were verified", started)
    call("compile", NETWORK, "--log", log, "--threads", 1, "-o", tuned)
    step("run: a photograph through the package; numpy, Pillow and TVM's runtime only", started)
    call("run", tuned, PHOTOGRAPH)
    call("run", tuned, PHOTOGRAPH, "--json", into=folder / "run.json")
    step("compare: Table 8 of the paper anew, each checked against PyTorch first", started)
    call("compare", "--packages", tuned, "--json", into=folder / "table8.json")
    call("compare", "--from", folder / "table8.json", quiet=True)

    step("what was seen", started)
    turns = gain(*in_turns([untuned, tuned]))
    table = json.loads((folder / "table8.json").read_text(encoding="utf-8"))
    seen = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    print(summary(table, seen, turns, (time.monotonic() - started) / 60))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
