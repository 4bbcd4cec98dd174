"""Every error a user can meet: one sentence that says what, where and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TvmShufflenetError(Exception):
    """Base of all errors of this package; ``exit_code`` is the command line's."""

    exit_code = 1


class InputError(TvmShufflenetError):
    """Something the user gave us cannot be used."""

    exit_code = 3


class ModelError(InputError):
    """An unknown network, an input size it cannot take, or an import that failed."""


class WeightsError(InputError):
    """A checkpoint that does not fit its network."""


class BoardError(InputError):
    """An unknown board, or a board file with a wrong field."""


class ImageError(InputError):
    """A picture that cannot be read or used."""


class PackageError(InputError):
    """A package that is damaged, foreign, or cannot be written."""


class RecordError(InputError):
    """A tuning log that is corrupt or belongs to another board."""


class ToolchainError(InputError):
    """TVM, LLVM or a linker is missing or is not the one needed."""


class BoardUnreachable(TvmShufflenetError):
    """A board, tracker or server did not answer; trying again may help."""

    exit_code = 4


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known name, or an empty string."""
    nearest = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
