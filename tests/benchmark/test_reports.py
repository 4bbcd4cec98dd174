"""Reports: to JSON and back, as tables, as Table 8, as a chart."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from tvm_shufflenet.benchmark import environment, results, table8, tables
from tvm_shufflenet.benchmark.plot import write_chart
from tvm_shufflenet.benchmark.results import FAILED, MEASURED, WRONG, Report, Result
from tvm_shufflenet.benchmark.statistics import Samples
from tvm_shufflenet.errors import InputError


def result(title, ms=None, *, status=MEASURED, **fields) -> Result:
    values = {
        "network": "shufflenet_v1_g3_x1.0",
        "height": 224,
        "width": 224,
        "threads": 1,
        "runner": "honest",
        "ours": title.startswith("ours"),
        "version": "1.2",
        "settings": "float32",
        "difference_of_scale": 1e-6,
        "strict": True,
        "detail": "",
    }
    samples = Samples(((ms / 1e3,) * 3,) * 4, ((1.0,),) * 4) if ms else None
    return Result(**{**values, **fields}, title=title, status=status, samples=samples)


GROUP = (
    result("ours", 4.0),
    result("ours, shuffle not merged", 5.0),
    result("slow", 12.0),
    result("best", 8.0),
    result("liar", status=WRONG, detail="output is zeros", difference_of_scale=1.0),
    result("broken", status=FAILED, detail="no such operator", difference_of_scale=None),
)
REPORT = Report("tvm-shufflenet bench x", {"cpu": "test"}, GROUP, ("noisy",))


def rendered(table) -> str:
    console = Console(width=200, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_a_report_survives_json(tmp_path) -> None:
    path = tmp_path / "report.json"
    path.write_text(REPORT.to_json())
    assert results.read(path) == REPORT


def test_json_holds_raw_samples_warmups_and_the_circumstances() -> None:
    content = json.loads(REPORT.to_json())
    assert content["results"][0]["rounds"] == [[0.004] * 3] * 4
    assert content["results"][0]["warmups"] == [[1.0]] * 4
    assert content["results"][0]["unit"] == "seconds"
    assert content["environment"] == {"cpu": "test"}


def test_an_infinite_difference_is_null_in_json() -> None:
    wrong = result("liar", status=WRONG, difference_of_scale=float("inf"))
    assert (
        json.loads(Report("x", {}, (wrong,)).to_json())["results"][0]["difference_of_scale"] is None
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 1, "results": 3}'])
def test_what_is_no_report_is_refused(tmp_path, text) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"report\.json"):
        results.read(path)


def test_a_missing_report_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="cannot read the report"):
        results.read(tmp_path / "none.json")


def test_the_best_peer_is_the_fastest_right_one_and_never_ours() -> None:
    peer = results.best_peer(GROUP)
    assert peer is not None
    assert peer.title == "best"


def test_the_table_marks_the_best_peer_and_our_ratio_to_everyone() -> None:
    text = rendered(tables.benchmark_table(GROUP))
    (best,) = [line for line in text.splitlines() if "best peer" in line]
    assert "best 1.2" in best
    assert "8.00" in best
    assert "2.00x (2.00-2.00)" in best
    (unmerged,) = [line for line in text.splitlines() if "not merged" in line]
    assert "1.25x" in unmerged


def test_the_table_says_wrong_and_failed_with_the_reason_and_no_time() -> None:
    lines = rendered(tables.benchmark_table(GROUP)).splitlines()
    (liar,) = [line for line in lines if "liar" in line]
    assert "WRONG" in liar
    assert "output is zeros" in liar
    (broken,) = [line for line in lines if "broken" in line]
    assert "FAILED" in broken
    assert "no such operator" in broken
    assert "x (" not in liar + broken


def test_the_table_is_sorted_by_time() -> None:
    text = rendered(tables.benchmark_table(GROUP))
    positions = [text.index(ms) for ms in ("4.00", "5.00", "8.00", "12.00", "WRONG")]
    assert positions == sorted(positions)


def test_the_verdict_names_ratio_and_peer() -> None:
    assert tables.verdict(GROUP).endswith(
        "ours is 2.00x (2.00-2.00) as fast as the best peer, best"
    )


def test_the_verdict_admits_that_ours_was_not_measured() -> None:
    assert "ours was not measured (failed)" in tables.verdict(
        [result("ours", status=FAILED, detail="no"), GROUP[3]]
    )


def test_groups_keep_networks_sizes_and_threads_apart() -> None:
    other = result("ours", 1.0, threads=2)
    assert [len(group) for group in results.groups((*GROUP, other))] == [6, 1]


def test_table_8_sets_speedups_beside_the_papers() -> None:
    small, large, alexnet = table8.NETWORKS
    measured = [
        result("ours", 4.0, network=small),
        result("ours", 8.0, network=large),
        result("ours", 48.0, network=alexnet),
    ]
    rows = table8.rows(measured, {small: 40, large: 140, alexnet: 720})
    assert [row.speedup.median for row in rows if row.speedup] == pytest.approx([12, 6, 1])
    assert [row.theoretical_speedup for row in rows] == pytest.approx([18, 720 / 140, 1])
    assert [row.paper_ms for row in rows] == [15.2, 37.8, 184.0]
    assert [row.paper_speedup for row in rows] == pytest.approx([184 / 15.2, 184 / 37.8, 1])
    assert "12.00x" in rendered(tables.paper_table(rows))


def test_table_8_has_no_paper_figure_at_sizes_the_paper_has_not() -> None:
    measured = [result("ours", 1.0, network=name, height=97) for name in table8.NETWORKS]
    rows = table8.rows(measured, dict.fromkeys(table8.NETWORKS, 1))
    assert all(row.paper_ms is None and row.paper_speedup is None for row in rows)


def test_table_8_shows_a_wrong_package_without_a_time_or_speedup() -> None:
    measured = [result("ours", 1.0, network=name) for name in table8.NETWORKS[1:]]
    wrong = result("ours", status=WRONG, detail="off by 0.5", network=table8.NETWORKS[0])
    rows = table8.rows([wrong, *measured], dict.fromkeys(table8.NETWORKS, 1))
    assert rows[0].speedup is None
    assert "WRONG: off by 0.5" in rendered(tables.paper_table(rows))


def test_a_chart_is_written(tmp_path) -> None:
    path = tmp_path / "chart.png"
    write_chart(REPORT, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_chart_of_nothing_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="nothing was measured"):
        write_chart(Report("x", {}, GROUP[4:]), tmp_path / "chart.png")


def test_the_environment_is_plain_json_and_names_neither_host_nor_folder() -> None:
    import platform
    from pathlib import Path

    stamped = environment.stamp()
    text = json.dumps(stamped)
    assert stamped["usable_cores"] >= 1
    assert "numpy" in stamped["versions"]
    assert str(Path.cwd()) not in text
    assert f'"{platform.node()}"' not in text


def test_a_busy_machine_and_a_changing_clock_are_warned_about() -> None:
    stamped = {"usable_cores": 2, "load_1min": 1.7, "governor": "powersave"}
    busy, clock = environment.load_warnings(stamped)
    assert "load average was 1.7 on 2 cores" in busy
    assert "'powersave'" in clock
    assert environment.load_warnings({"usable_cores": 2, "load_1min": 0.1}) == ()
