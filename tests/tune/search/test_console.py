"""A search shows itself: a line for each event in a job's log, a table on a terminal."""

import os
import pty
import subprocess
import sys
from pathlib import Path

from mrct.progress import QUIET_VARIABLE
from tests.support.searches import write_search
from tune.search.console import status_text
from tune.search.trial_score import Objective

ROOT = Path(__file__).resolve().parents[3]
SHOW = """
from pathlib import Path
from mrct.progress import QUIET_VARIABLE
from tests.support.searches import write_search
from tune.search.console import status_text
from tune.search.trial_score import Objective
log = write_search(Path({folder!r}))
with status_text(lambda: log.trials, 6, Objective()) as tell:
    tell("t003 begins")
"""


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


def test_a_terminal_has_a_table(tmp_path):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", SHOW.format(folder=str(tmp_path / "s"))],
        cwd=ROOT,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
        stderr=theirs,
    )
    os.close(theirs)
    text = b""
    try:
        while chunk := os.read(ours, 65536):
            text += chunk
    except OSError:  # the other side is gone: all is read
        pass
    os.close(ours)

    assert process.wait(30) == 0
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
