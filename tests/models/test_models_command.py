"""``tvm-shufflenet models`` prints what the API knows."""

from __future__ import annotations

import json
import sys

import pytest
from click.testing import CliRunner

from tvm_shufflenet import models
from tvm_shufflenet.cli.models import models_command
from tvm_shufflenet.errors import ModelError, ToolchainError


def run(*arguments):
    return CliRunner().invoke(models_command, arguments)


def test_the_table_has_a_whole_line_for_every_network_and_explains_its_notes():
    shown = run()
    assert shown.exit_code == 0
    cells = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:-1]]
        for line in shown.output.splitlines()
        if line.startswith("│")
    }
    assert set(models.names()) <= set(cells)
    assert cells["alexnet"] == ["60,965,224", "724.4 M", "720 M", "+0.6%", ""]
    assert cells["shufflenet_v1_g8_x0.5"][-2:] == ["+6.5%", "1"]
    assert "\n1. conv1 has 16 filters" in shown.output


def test_json_has_the_same_facts():
    shown = json.loads(run("--json").output)
    assert shown["size"] == [224, 224]
    assert [row["name"] for row in shown["models"]] == list(models.names())
    row = next(row for row in shown["models"] if row["name"] == "shufflenet_v1_g3_x1.0_megvii")
    assert row["multiply_adds"] == 137460672
    assert row["preprocessing"]["channel_order"] == "BGR"


def test_at_another_size_the_papers_figures_are_left_out():
    rows = json.loads(run("--size", "480x640", "--json").output)["models"]
    assert rows[2]["multiply_adds"] == models.multiply_adds(rows[2]["name"], (480, 640))
    assert {row["paper_multiply_adds"] for row in rows} == {None}


def test_a_network_that_does_not_take_the_size_has_no_figure():
    rows = json.loads(run("--size", "40x50", "--json").output)["models"]
    assert [row["name"] for row in rows if row["multiply_adds"] is None] == ["alexnet"]


@pytest.mark.parametrize("size", ["224", "0x32", "axb", "-3x4", "224x224x3"])
def test_what_is_not_a_size_is_a_usage_error(size):
    refused = run("--size", size)
    assert refused.exit_code == 2
    assert "write HEIGHTxWIDTH" in refused.output


def test_a_size_that_no_network_takes_is_refused():
    assert isinstance(run("--size", "31x32").exception, ModelError)


def test_without_rich_the_table_says_what_to_install_and_json_still_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    missing = run().exception
    assert isinstance(missing, ToolchainError)
    assert "tvm-shufflenet[host]" in str(missing)
    assert run("--json").exit_code == 0
