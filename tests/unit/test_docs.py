"""What the documents point at is there."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from tvm_shufflenet.cli import cli

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "benchmarks").rglob("*.md")),
]


def _commands(text: str) -> list[list[str]]:
    """Return the words of every tvm-shufflenet command, in code blocks and in running text."""
    joined = re.sub(r"\\\n\s*", " ", text)
    found = re.findall(r"^\s*(?:\$ )?(tvm-shufflenet [^#|>\n]+)", joined, re.MULTILINE)
    found += re.findall(r"`(tvm-shufflenet [^`]+)`", joined)
    return [line.split() for line in found]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    prose = re.sub(r"(?s)```.*?```|`[^`]*`", "", document.read_text(encoding="utf-8"))
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", prose)
    lost = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert lost == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_and_option_exists(document: Path) -> None:
    for words in _commands(document.read_text(encoding="utf-8")):
        command: click.Command = cli
        for word in words[1:]:
            if isinstance(command, click.Group) and word in command.commands:
                command = command.commands[word]
        known = {text for option in command.params for text in option.opts + option.secondary_opts}
        given = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert given <= known | {"--help", "-h"}, " ".join(words)
        assert command is not cli or given or len(words) == 1, " ".join(words)


def test_the_readme_shows_commands() -> None:
    assert len(_commands((ROOT / "README.md").read_text(encoding="utf-8"))) > 5
