"""A report as a bar chart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tvm_shufflenet.benchmark import results
from tvm_shufflenet.benchmark.results import Report, Result
from tvm_shufflenet.benchmark.tables import cores
from tvm_shufflenet.errors import InputError

_OURS = "#c0392b"
_PEER = "#7f8c8d"


def write_chart(report: Report, path: Path) -> None:
    """Draw one panel a group: a bar a runtime, its whisker from the median to p90.

    Raises:
        InputError: if nothing was measured, or the file cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [group for group in map(_measured, results.groups(report.results)) if group]
    if not panels:
        raise InputError("nothing was measured, so there is nothing to draw")
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(8, 1 + 2.6 * len(panels)), squeeze=False, layout="constrained"
    )
    for axis, group in zip(axes[:, 0], panels, strict=True):
        _draw(axis, group)
    figure.suptitle(str(report.environment.get("cpu") or "CPU"))
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write the chart {path}: {error}") from None
    finally:
        pyplot.close(figure)


def _measured(group: list[Result]) -> list[Result]:
    found = [result for result in group if result.samples is not None]
    return sorted(found, key=lambda result: result.median_ms or 0.0, reverse=True)


def _draw(axis: Any, group: list[Result]) -> None:
    first = group[0]
    medians = [result.median_ms or 0.0 for result in group]
    tails = [
        result.samples.p90_s * 1e3 - median
        for result, median in zip(group, medians, strict=True)
        if result.samples is not None
    ]
    bars = axis.barh(
        [result.title for result in group],
        medians,
        color=[_OURS if result.ours else _PEER for result in group],
        xerr=[[0.0] * len(tails), tails],
        capsize=2,
    )
    axis.margins(x=0.15)  # room for the labels
    axis.bar_label(bars, fmt="%.2f", padding=4)
    axis.set_xlabel("milliseconds (median, whisker to p90)")
    size = f"{first.height}x{first.width}"
    axis.set_title(f"{first.network}, {size}, {cores(first.threads)}")
