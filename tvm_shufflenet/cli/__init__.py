"""The command line: each subcommand parses, calls the API and prints.

Importing this package must stay cheap: neither TVM nor torch, so ``--help`` is instant.
"""

from __future__ import annotations

import sys

import click

from tvm_shufflenet import __version__
from tvm_shufflenet.cli.bench import bench_command
from tvm_shufflenet.cli.boards import boards_command
from tvm_shufflenet.cli.compare import compare_command
from tvm_shufflenet.cli.compile import compile_command
from tvm_shufflenet.cli.inspect import inspect_command
from tvm_shufflenet.cli.logs import logs_command
from tvm_shufflenet.cli.models import models_command
from tvm_shufflenet.cli.profile import profile_command
from tvm_shufflenet.cli.run import run_command
from tvm_shufflenet.cli.tasks import tasks_command
from tvm_shufflenet.cli.tune import tune_command
from tvm_shufflenet.errors import ToolchainError, TvmShufflenetError

INTERRUPTED = 130
# What the extra "host" brings: a device has none of it, and needs none to run packages.
_HOST_MODULES = ("torch", "onnx", "xgboost", "psutil", "rich", "matplotlib", "platformdirs")


class _InOrder(click.Group):
    """Lists subcommands in the order of the data flow, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Run ShuffleNet on ARM CPUs: import, merge the shuffle, tune, compile, deploy, compare."""


for command in (
    models_command,
    boards_command,
    tasks_command,
    tune_command,
    logs_command,
    compile_command,
    inspect_command,
    run_command,
    compare_command,
    bench_command,
    profile_command,
):
    cli.add_command(command)


def main() -> None:
    """Entry point: foreign tracebacks never reach the user for errors that are theirs to fix."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except TvmShufflenetError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as missing:
        if missing.name not in _HOST_MODULES:
            raise
        install = 'pip install "tvm-shufflenet[host]"'
        click.echo(f"error: this command needs {missing.name}; {install}", err=True)
        sys.exit(ToolchainError.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
