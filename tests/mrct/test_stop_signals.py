"""A command receives each request to end once, also when its terminal closes."""

import os
import pty
import signal
import subprocess
import sys

from mrct import stop_signals
from mrct.stop_signals import collect_signals

LISTENS = """
import os, signal, subprocess, sys, time
from mrct.stop_signals import collect_signals, outliving_the_terminal
with outliving_the_terminal():
    helper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
with collect_signals() as received:
    print("ready", flush=True)
    while not received:
        time.sleep(0.01)
    print("written after the terminal was gone", flush=True)
    time.sleep(0.2)  # the helper's time to die of the signal
    open(sys.argv[1], "w").write(f"{received[0].name} {helper.poll()}")
helper.communicate(b"\\n")
"""


def send(number: signal.Signals, times: int) -> None:
    for _ in range(times):
        signal.raise_signal(number)


def test_two_quick_ctrl_c_are_one_request_and_a_later_one_is_another(monkeypatch):
    with collect_signals() as received:
        send(signal.SIGINT, 2)
        assert received == [signal.SIGINT]

        monkeypatch.setattr(stop_signals, "REPEAT_S", 0.0)  # as if the second were over
        send(signal.SIGINT, 1)
        assert received == [signal.SIGINT] * 2


def test_a_closed_terminal_that_the_process_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with collect_signals() as received:
            send(signal.SIGHUP, 1)
            send(signal.SIGTERM, 1)
        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_closed_terminal_is_a_request_and_neither_output_nor_helpers_fail_for_it(tmp_path):
    process, terminal = pty.fork()
    if not process:
        os.execv(sys.executable, [sys.executable, "-c", LISTENS, str(tmp_path / "said")])
    shown = b""
    while b"ready" not in shown:
        shown += os.read(terminal, 100)

    os.killpg(process, signal.SIGHUP)  # a shell tells all of its job, the kernel the leader
    os.close(terminal)

    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert (tmp_path / "said").read_text() == "SIGHUP None"


def test_without_a_terminal_output_goes_where_it_went():
    script = "import os, signal; from mrct.stop_signals import collect_signals\n"
    script += "with collect_signals():\n  os.kill(os.getpid(), signal.SIGHUP); print('here')"

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert (ended.returncode, ended.stdout) == (0, "here\n")
