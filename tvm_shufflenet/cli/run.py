"""``tvm-shufflenet run``: what a package sees in pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from tvm_shufflenet.errors import InputError

_UNTRAINED = "the weights are random and untrained: these predictions mean nothing"


@click.command("run")
@click.argument("package", type=click.Path(path_type=Path))
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("-k", "--top", "count", default=5, show_default=True, type=click.IntRange(min=1),
              help="How many classes to show.")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), help="Workers; else as the package says.")
@click.option("--trust", type=click.Path(path_type=Path), metavar="PUBLIC_KEY",
              help="Refuse a package that this Ed25519 key (a PEM file) did not sign.")  # fmt: skip
@click.option("--board", default="", metavar="NAME", help="Run there over RPC; else here.")
@click.option("--tracker", default="", metavar="HOST:PORT", help="Where the board registers.")
@click.option("--key", default="", help="Key at the tracker; the board file has the default.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def run_command(
    package: Path,
    images: tuple[str, ...],
    count: int,
    threads: int | None,
    trust: Path | None,
    board: str,
    tracker: str,
    key: str,
    as_json: bool,
) -> None:
    """Name the likeliest classes of each IMAGE, as PACKAGE sees them.

    Needs only numpy, Pillow and TVM's runtime.
    """
    from tvm_shufflenet.runtime import read_picture

    if (tracker or key) and not board:
        raise InputError("--tracker and --key are for a board; name it with --board")
    frames = [read_picture(image) for image in images]
    with _loaded(package, threads, trust, board, tracker, key) as model:
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


@contextmanager
def _loaded(
    package: Path, threads: int | None, trust: Path | None, board: str, tracker: str, key: str
) -> Iterator[Any]:
    if not board:
        from tvm_shufflenet.runtime import Model

        with Model.load(package, threads=threads, trust=trust) as model:
            yield model
        return
    from tvm_shufflenet.boards import load_board
    from tvm_shufflenet.rpc.remote_model import RemoteModel
    from tvm_shufflenet.rpc.session import link_to

    described = load_board(board)
    link = link_to(described, tracker=tracker, key=key)
    yield RemoteModel.load(package, described, link, threads=threads, trust=trust)


def _entry(name: str | int, probability: float) -> dict[str, Any]:
    return {"class": name, "probability": probability}


def _print(result: dict[str, Any]) -> None:
    click.echo(result["image"])
    for place, entry in enumerate(result["top"], 1):
        name = entry["class"] if isinstance(entry["class"], str) else f"class {entry['class']}"
        click.echo(f"{place:4}  {100 * entry['probability']:6.2f} %  {name}")
