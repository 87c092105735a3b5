"""Every command that a message or a help text advises is one that its program accepts."""

import ast
import re
import shlex
from collections.abc import Iterator

import pytest

from cyclegan.config.files import to_yaml
from cyclegan.config.presets import smoke
from tests.support.accepted import PROGRAM, refusal
from tests.test_architecture import ROOT, SOURCES

VALUE = "4"
"""Stands for what a message fills in: a number, a name, and here the path of a configuration."""
FILLED_IN = {
    "TRAIN_COMMAND": "python -m cyclegan.train",
    "TUNE_COMMAND": "python -m tune",
    "command.preset": "smoke",
    "plan.preset": "smoke",
    "found.key": "0" * 16,
    "shlex.join(own[:begin])": "submit --target ray",
    "shlex.join(own[begin:])": "python -m cyclegan.train smoke",
    "' '.join((f'{mm:g}' for mm in run['spacing_mm']))": "3 1 1",
    "' '.join(map(str, run['size']))": "64 64",
}


def messages_of(source: str) -> Iterator[str]:
    """The texts of a module, with `VALUE` for what they fill in."""
    nodes = list(ast.walk(ast.parse(source)))
    formatted = [node for node in nodes if isinstance(node, ast.JoinedStr)]
    parts = {part for node in formatted for part in node.values}
    yield from ("".join(map(text_of, node.values)) for node in formatted)
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts:
            yield node.value


def text_of(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    return FILLED_IN.get(ast.unparse(part.value), VALUE)


def commands_of(text: str) -> Iterator[list[str]]:
    """The words of each command that a text advises: one in backquotes, or to the end of its line.

    A program with nothing but its command, such as `python -m data_prep convert`, is named only.
    """
    called = rf"python -m ({PROGRAM}(?![.\w])[^`\n]*)"
    quoted = re.findall(f"`{called}`", text)
    for command in quoted + re.findall(f"{called}$", re.sub(r"`[^`]*`", "", text), re.MULTILINE):
        words = shlex.split(re.sub(r"(?<!\.)[.:]$", "", command))
        words = [word.strip("[]") for word in words]
        if len(words) > (1 if "." in words[0] else 2):
            yield words


ADVICE = sorted(
    {
        (str(path.relative_to(ROOT)), *words)
        for path in SOURCES
        for message in messages_of(path.read_text())
        for words in commands_of(message)
    }
)


@pytest.mark.parametrize("advice", ADVICE, ids=" ".join)
def test_an_advised_command_is_accepted(advice, monkeypatch, tmp_path):
    (tmp_path / VALUE).write_text(to_yaml(smoke()))
    monkeypatch.chdir(tmp_path)

    assert refusal(advice[1], complete(advice[2:]), monkeypatch) is None


def complete(words: tuple[str, ...]) -> list[str]:
    """The words with what `...` stands for: the inputs and output of a convert."""
    left_out = [] if "..." not in words or words[0] != "convert" else ["--out", "STORE"]
    if left_out and "--out" in words:
        left_out = ["--mri", "DIR"]
    return [word for word in words if word != "..."] + left_out
