"""JSON read strictly into frozen dataclasses: a deviation is refused by its field's name."""

from __future__ import annotations

import dataclasses
import json
import math
import types
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from tvm_shufflenet.errors import PackageError, did_you_mean

_LARGEST = 2**53  # beyond it not every JSON reader keeps integers exact

_Record = TypeVar("_Record")


def parse_object(text: bytes, where: str) -> dict[str, Any]:
    """Parse UTF-8 JSON whose top is an object.

    Raises:
        PackageError: on bad UTF-8, bad JSON, NaN or infinity, or a key given twice.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise PackageError(f"{where}: the field {key!r} is given twice")
            found[key] = value
        return found

    def refuse(constant: str) -> Any:
        raise PackageError(f"{where}: {constant} is not a number a field may have")

    try:
        parsed = json.loads(text.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse)
    # ValueError covers bad UTF-8, bad JSON and integers of thousands of digits.
    except (ValueError, RecursionError) as error:
        reason = "is nested too deeply" if isinstance(error, RecursionError) else error
        raise PackageError(f"{where} is not valid JSON ({reason}); make it again") from None
    if not isinstance(parsed, dict):
        raise PackageError(f"{where} must hold a JSON object; make it again")
    return parsed


def decode(kind: type[_Record], value: Any, where: str) -> _Record:
    """Build the dataclass `kind` from parsed JSON; `where` starts the error's field name.

    Every field of `kind` must be there with its exact type, and no other.

    Raises:
        PackageError: naming the first field that is missing, unknown or of another type.
    """
    if not isinstance(value, dict):
        raise PackageError(f"{where} must be an object, not {_name(value)}")
    record: Any = kind
    hints = _hints(record)
    for key in value:
        if key not in hints:
            raise PackageError(f"{where}.{key} is not a field{did_you_mean(key, hints)}")
    for key in hints:
        if key not in value:
            raise PackageError(f"{where}.{key} is missing")
    return kind(**{key: _field(hints[key], value[key], f"{where}.{key}") for key in hints})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _field(hint: Any, value: Any, where: str) -> Any:
    if get_origin(hint) in (types.UnionType, Union):
        (inner,) = [option for option in get_args(hint) if option is not type(None)]
        return None if value is None else _field(inner, value, where)
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise PackageError(f"{where} must be a list, not {_name(value)}")
        item = get_args(hint)[0]
        return tuple(_field(item, part, f"{where}[{n}]") for n, part in enumerate(value))
    if dataclasses.is_dataclass(hint):
        return decode(hint, value, where)  # type: ignore[arg-type]
    return _scalar(hint, value, where)


def _scalar(hint: type[Any], value: Any, where: str) -> Any:
    if hint is float and type(value) in (int, float):
        if not abs(value) <= _LARGEST or not math.isfinite(value):
            raise PackageError(f"{where} is too large")
        return float(value)
    if type(value) is not hint:  # exact, for a JSON true is no integer
        raise PackageError(f"{where} must be {_KINDS[hint]}, not {_name(value)}")
    if hint is int and abs(value) > _LARGEST:
        raise PackageError(f"{where} is too large")
    # Control characters would reach terminals, lone surrogates would crash them.
    if hint is str and not value.isprintable():
        raise PackageError(f"{where} has characters that cannot be printed")
    return value


_KINDS = {str: "text", int: "an integer", float: "a number", bool: "true or false"}


def _name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return f"{_KINDS[type(value)]} ({str(value)[:40]!r})"
