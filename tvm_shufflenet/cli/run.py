"""``tvm-shufflenet run``: what a package sees in pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

_UNTRAINED = "the weights are random and untrained: these predictions mean nothing"


@click.command("run")
@click.argument("package", type=click.Path(path_type=Path))
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("-k", "--top", "count", default=5, show_default=True, type=click.IntRange(min=1),
              help="How many classes to show.")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), help="Workers; else as the package says.")
@click.option("--trust", type=click.Path(path_type=Path), metavar="PUBLIC_KEY",
              help="Refuse a package that this Ed25519 key (a PEM file) did not sign.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def run_command(
    package: Path,
    images: tuple[str, ...],
    count: int,
    threads: int | None,
    trust: Path | None,
    as_json: bool,
) -> None:
    """Name the likeliest classes of each IMAGE, as PACKAGE sees them.

    Needs only numpy, Pillow and TVM's runtime.
    """
    from tvm_shufflenet.runtime import Model, read_picture

    frames = [read_picture(image) for image in images]
    with Model.load(package, threads=threads, trust=trust) as model:
        untrained = model.manifest.weights.untrained
        results = [
            {"image": image, "top": [_entry(*best) for best in model.top(frame, k=count)]}
            for image, frame in zip(images, frames, strict=True)
        ]
        if as_json:
            facts = {"model": model.manifest.model, "untrained": untrained}
            click.echo(json.dumps({**facts, "threads": model.threads, "images": results}, indent=2))
            return
    for result in results:
        _print(result)
    if untrained:
        click.echo(f"note: {_UNTRAINED}")


def _entry(name: str | int, probability: float) -> dict[str, Any]:
    return {"class": name, "probability": probability}


def _print(result: dict[str, Any]) -> None:
    click.echo(result["image"])
    for place, entry in enumerate(result["top"], 1):
        name = entry["class"] if isinstance(entry["class"], str) else f"class {entry['class']}"
        click.echo(f"{place:4}  {100 * entry['probability']:6.2f} %  {name}")
