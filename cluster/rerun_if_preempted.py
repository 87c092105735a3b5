"""`python -m cluster.rerun_if_preempted -- COMMAND`: run a command again while it is preempted.

For a job inside a cluster that outlives the command: a run that ends with exit code 5 has saved and
resumes with the same command. A signal that stops the job itself reaches this process too, and ends
the repetition.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from mrct.errors import ExitCode
from mrct.stop_signals import STOP_SIGNALS

PAUSE_S = 1.0
"""Pause between two starts, so that a command that is preempted at once does not spin."""


def rerun_if_preempted(command: Sequence[str]) -> int:
    """Run a command until it ends other than by preemption; return its exit code.

    The signals to stop are left to the command, which Ray signals itself; here they only end the
    repetition.
    """
    signals: list[int] = []
    for each in STOP_SIGNALS:
        signal.signal(each, lambda number, frame: signals.append(number))
    while True:
        code = subprocess.Popen(command).wait()
        if code != ExitCode.PREEMPTED or signals:
            return code if code >= 0 else 128 - code
        print(
            "Preempted; the command starts again and resumes its run.", file=sys.stderr, flush=True
        )
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    sys.exit(rerun_if_preempted(sys.argv[sys.argv.index("--") + 1 :]))
