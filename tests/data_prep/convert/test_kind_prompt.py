"""On a terminal the kinds are asked for until an answer names some."""

import builtins

import pytest

from data_prep.convert.kind_prompt import ask_kinds, terminal_prompt
from mrct.errors import UsageError


def answering(monkeypatch, *answers: str) -> None:
    """Answer the questions one after the other, then end the input."""
    left = list(answers)

    def answer(question: str) -> str:
        if not left:
            raise EOFError
        return left.pop(0)

    monkeypatch.setattr(builtins, "input", answer)


def test_it_asks_until_the_answer_names_kinds(monkeypatch, capsys):
    answering(monkeypatch, "", "T3w", "T1w, FLAIR")

    assert ask_kinds("mri", ["  the table"], ["T1w", "FLAIR", "T2w"]) == ["T1w", "FLAIR"]
    shown = capsys.readouterr().out
    assert "  the table" in shown
    assert "T3w is no kind" in shown
    assert "The same as --mri-kind T1w FLAIR" in shown


def test_an_input_that_ends_names_the_flag(monkeypatch):
    answering(monkeypatch)

    with pytest.raises(UsageError, match="Give --ct-kind"):
        ask_kinds("ct", [], ["native", "contrast"])


@pytest.mark.parametrize(("stdin", "stdout"), [(True, False), (False, True), (False, False)])
def test_nobody_is_asked_off_a_terminal(monkeypatch, stdin, stdout):
    monkeypatch.setattr("sys.stdin.isatty", lambda: stdin, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: stdout, raising=False)

    assert terminal_prompt() is None
