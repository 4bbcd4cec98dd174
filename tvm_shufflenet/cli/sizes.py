"""The ``--size HxW`` option, shared by the subcommands."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

_SIZE = re.compile(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})")


def size_option(default: str = "224x224") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add ``--size``; the command gets it as ``size``, a (height, width) in pixels."""
    return click.option(
        "--size",
        default=default,
        show_default=True,
        metavar="HxW",
        callback=lambda _ctx, _param, text: parse_size(text),
        help="Height and width of the input in pixels.",
    )


def parse_size(text: str) -> tuple[int, int]:
    """Return ``480x640`` as (480, 640).

    Raises:
        click.BadParameter: for anything but two positive integers.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not a size; write HEIGHTxWIDTH, such as 480x640")
    return int(match[1]), int(match[2])
