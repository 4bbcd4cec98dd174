from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
PICTURES = Path(__file__).parents[1] / "data"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def test_the_video_loop_prints_each_frame_and_the_percentiles(package: Path) -> None:
    done = run(EXAMPLES / "video.py", package, PICTURES)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr, len(lines)) == (0, "", 3)
    assert "class " in lines[0] and lines[1].startswith("1 frames") and "p99" in lines[1]
    assert "untrained" in lines[2]


def test_the_video_loop_says_what_is_wrong_in_one_line(package: Path, tmp_path: Path) -> None:
    for arguments in ((package, tmp_path), (package, tmp_path / "none"), (tmp_path, PICTURES)):
        done = run(EXAMPLES / "video.py", *arguments)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_runtimes_figures_are_printed(archive: Path) -> None:
    done = run(EXAMPLES / "runtime_figures.py", archive, "--turns", 10, "--inferences", 160)
    assert (done.returncode, done.stderr) == (0, "")
    assert "after 10 loads" in done.stdout and "after 160 inferences: 0 wrong" in done.stdout
