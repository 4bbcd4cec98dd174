"""Reports as rich tables; the command line prints them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from tvm_shufflenet.benchmark import results, table8
from tvm_shufflenet.benchmark.profile import Profile
from tvm_shufflenet.benchmark.results import Result
from tvm_shufflenet.benchmark.statistics import Ratio, speedup


def benchmark_table(group: Sequence[Result]) -> Table:
    """Return the results that were measured against each other, the fastest first.

    An exclamation mark stands where samples are too unsteady to be quoted. The last column says
    how many times faster our first package is than that runtime, with the least and the most
    favorable round.
    """
    first = group[0]
    table = Table(
        title=f"{first.network}, {first.height}x{first.width}, {cores(first.threads)}, float32",
        title_justify="left",
    )
    table.add_column("runtime")
    for heading in ("median ms", "p90", "p99", "deviation", "error / scale"):
        table.add_column(heading, justify="right")
    table.add_column("ours is faster by")
    ours = _first_ours(group)
    peer = results.best_peer(group)
    for result in sorted(group, key=_order):
        name = f"{result.title} {result.version}" if not result.ours else result.title
        mark = "  <- best peer" if result is peer else ""
        if result.samples is None:
            table.add_row(name, result.status.upper(), "", "", "", _error(result), result.detail)
            continue
        ratio = ""
        if ours is not None and ours.samples is not None and result is not ours:
            ratio = ratio_text(speedup(ours.samples, result.samples))
        samples = result.samples
        table.add_row(
            name + mark,
            milliseconds(samples.median_s),
            milliseconds(samples.p90_s),
            milliseconds(samples.p99_s),
            f"{samples.deviation:.0%}{' !' if samples.warnings() else ''}",
            _error(result),
            ratio,
            style="bold" if result.ours else None,
        )
    return table


def verdict(group: Sequence[Result]) -> str:
    """Say in one sentence who won."""
    first = group[0]
    where = f"{first.network} {first.height}x{first.width}, {cores(first.threads)}"
    ours, peer = _first_ours(group), results.best_peer(group)
    if ours is None or ours.samples is None:
        return f"{where}: ours was not measured ({ours.status if ours else 'not asked for'})"
    if peer is None or peer.samples is None:
        return f"{where}: ours takes {milliseconds(ours.samples.median_s)} ms; no peer was measured"
    ratio = speedup(ours.samples, peer.samples)
    return f"{where}: ours is {ratio_text(ratio)} as fast as the best peer, {peer.title}"


def paper_table(rows: Sequence[table8.Row]) -> Table:
    """Return the paper's Table 8 anew for one input size."""
    result = rows[0].result
    table = Table(
        title=f"Table 8 anew: {result.height}x{result.width}, {cores(result.threads)}, float32",
        title_justify="left",
    )
    table.add_column("network")
    for heading in (
        "multiply-adds",
        "median ms",
        "faster than AlexNet",
        "in theory",
        "paper: ms",
        "paper: faster",
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.title,
            f"{row.multiply_adds / 1e6:.0f} M",
            milliseconds(row.result.samples.median_s)
            if row.result.samples
            else f"{row.result.status.upper()}: {row.result.detail}",
            ratio_text(row.speedup) if row.speedup else "",
            f"{row.theoretical_speedup:.1f}x",
            f"{row.paper_ms:.1f}" if row.paper_ms else "",
            f"{row.paper_speedup:.1f}x" if row.paper_speedup else "",
        )
    return table


def milliseconds(seconds: float) -> str:
    """Return a time with three significant digits or two decimals, whichever shows more."""
    value = seconds * 1e3
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def ratio_text(ratio: Ratio) -> str:
    """Return a ratio with the range of its rounds."""
    return f"{ratio.median:.2f}x ({ratio.low:.2f}-{ratio.high:.2f})"


def cores(threads: int) -> str:
    """Return a thread count in words."""
    return "1 thread" if threads == 1 else f"{threads} threads"


def _first_ours(group: Sequence[Result]) -> Result | None:
    return next((result for result in group if result.ours), None)


def _order(result: Result) -> tuple[bool, float]:
    median = result.median_ms
    return (median is None, median or 0.0)


def _error(result: Result) -> str:
    return "" if result.difference_of_scale is None else f"{result.difference_of_scale:.0e}"


def profile_table(profile: Profile, shown: int) -> Table:
    """Return the `shown` slowest kernels beside the machine's limits, and their sum."""
    peaks = profile.peaks
    table = Table(
        title=f"{profile.model}, {cores(profile.threads)}: measured peaks "
        f"{peaks.gflops:.0f} GFLOPS, {peaks.cache_gb_s:.0f} GB/s from cache, "
        f"{peaks.memory_gb_s:.0f} GB/s from memory",
        title_justify="left",
    )
    table.add_column("kernel", no_wrap=True)
    table.add_column("output", no_wrap=True)
    for heading in (
        "calls",
        "us each",
        "share",
        "M mult-adds",
        "GFLOPS",
        "of peak",
        "KiB",
        "GB/s",
        "times bound",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("bound by", no_wrap=True)
    table.add_column("tuned", no_wrap=True)
    total_s = sum(kernel.seconds for kernel in profile.kernels)
    for group in profile.slowest_first()[:shown]:
        kernel, cost = group.kernel, group.kernel.cost
        counted = cost.multiply_adds > 0
        table.add_row(
            cost.name,
            "x".join(map(str, cost.output)),
            str(group.calls),
            f"{kernel.seconds * 1e6:.1f}",
            f"{group.total_s / total_s:.1%}",
            f"{cost.multiply_adds / 1e6:.2f}" if counted else "",
            f"{kernel.gflops:.1f}" if counted else "",
            f"{kernel.gflops / peaks.gflops:.0%}" if counted else "",
            f"{cost.bytes / 1024:.0f}",
            f"{kernel.gb_s:.1f}",
            f"{kernel.seconds / kernel.bound_s(peaks):.1f}",
            kernel.limit(peaks),
            "yes" if cost.name in profile.tuned else "",
        )
    return table


def profile_summary(profile: Profile) -> str:
    """Say how much of the whole the kernels and their bounds are."""
    total_s = sum(kernel.seconds for kernel in profile.kernels)
    multiply_adds = sum(kernel.cost.multiply_adds for kernel in profile.kernels)
    achieved = 2e-9 * multiply_adds / profile.whole_s
    return (
        f"whole inference {milliseconds(profile.whole_s)} ms, {achieved:.0f} GFLOPS "
        f"({achieved / profile.peaks.gflops:.0%} of peak); {len(profile.kernels)} kernels one by "
        f"one {milliseconds(total_s)} ms, their bounds {milliseconds(profile.bound_s())} ms"
    )
