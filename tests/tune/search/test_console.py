"""A search shows itself: a line for each event in a job's log, a table on a terminal."""

import os
import pty
import sys

from mrct.progress import QUIET_VARIABLE
from tests.support.searches import write_search
from tune.search.console import status_text
from tune.search.trial_score import Objective


def test_a_job_log_has_a_line_for_each_event(tmp_path, capsys):
    log = write_search(tmp_path / "s")

    with status_text(lambda: log.trials, 6, Objective()) as tell:
        tell("t003 begins")
        log.score("t003", 2, 1.5)
        tell("t003 step 2 of 18: 1.5")

    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("tune: t003 begins  [3 of 6 ended, 1 running, 1 stopped early, 1 fail")
    assert "best 2 (t000)" in first
    assert "best 1.5 (t003)" in second


def test_a_terminal_has_a_table(tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    log = write_search(tmp_path / "s")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with status_text(lambda: log.trials, 6, Objective()) as tell:
            tell("t003 begins")
        text = os.read(ours, 65536)
    os.close(ours)

    shown_text = text.decode()
    assert "t000 (base)" in shown_text
    assert "stopped early" in shown_text
    assert "3 of 6 ended" in shown_text
    assert "─" in shown_text


def test_quiet_hides_the_progress(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(QUIET_VARIABLE, "1")

    log = write_search(tmp_path / "s")
    with status_text(lambda: log.trials, 6, Objective()) as tell:
        tell("t003 begins")

    assert capsys.readouterr().err == ""
