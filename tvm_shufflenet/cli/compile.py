"""``tvm-shufflenet compile``: a network becomes a package for a board."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tvm_shufflenet.cli.sizes import size_option

_PATH = click.Path(path_type=Path)


@click.command("compile")
@click.argument("model")
@click.option("--board", default="local", show_default=True, help="Board to compile for.")
@size_option()
@click.option(
    "--batch",
    "batches",
    type=click.IntRange(1, 64),
    multiple=True,
    default=(1,),
    show_default=True,
    help="Batch size; repeat for several in one package.",
)
@click.option("--seed", default=0, show_default=True, help="Of random weights.")
@click.option("--weights", type=_PATH, help="A state_dict of the network, trained.")
@click.option("--labels", type=_PATH, help="Class names, one a line, for the package.")
@click.option("--log", type=_PATH, help="Tuning log to apply instead of the one that ships.")
@click.option("--untuned", is_flag=True, help="Apply no tuning log.")
@click.option("--no-merge", is_flag=True, help="Keep each shuffle as a kernel of its own.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads to run with by default.")
@click.option("--sign", "key", type=_PATH, help="Sign with this Ed25519 private key (PEM).")
@click.option("--dump-ir", type=_PATH, help="Folder for the network after each pass.")
@click.option("--overwrite", is_flag=True, help="Replace a package that is there.")
@click.option("-o", "--output", type=_PATH, required=True,
              help="Package to write: a folder, or one file if it ends in .pkg.")  # fmt: skip
def compile_command(
    model: str, output: Path, dump_ir: Path | None, no_merge: bool, overwrite: bool, **options: Any
) -> None:
    """Compile MODEL, a network's name or an .onnx file, into a package."""
    from tvm_shufflenet.cli.console import progress
    from tvm_shufflenet.package.compile import CompileOptions, build, write

    options["threads"] = options["threads"] or 0
    chosen = CompileOptions(model=model, merge_shuffles=not no_merge, **options)
    with progress() as show:

        def observe(position: int, name: str, mod: Any) -> None:
            show(f"{model}: {name}")
            if dump_ir is not None:
                dump_ir.mkdir(parents=True, exist_ok=True)
                text = mod["main"].astext(show_meta_data=False)
                (dump_ir / f"{position:02d}_{name}.txt").write_text(text, encoding="utf-8")

        compiled = build(chosen, output, overwrite, observe)
        show("writing the package")
        write(compiled, output, overwrite)
    first = compiled.libraries[0]
    for note in first.prepared.notes:
        click.echo(f"note: {note}", err=True)
    served = sum(record is not None for _, _, record in first.kernels)
    log = first.history.log
    tuned = f"{served} of {len(first.kernels)} kernels tuned" if log else "untuned"
    source = f" ({log.name})" if log else ""
    kept = len(first.history.defaults)
    source += f", {kept} are fastest by default" if kept else ""
    click.echo(f"{output}: {model} for {first.prepared.board.name}, {tuned}{source}")
    if first.history.skipped:
        click.echo(f"note: {first.history.skipped}", err=True)
