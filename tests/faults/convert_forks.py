"""Conversions in forked processes, killed at given moments; run as a program by convert_kills.

A fork starts with all libraries imported, so that its moments are moments of converting. Nothing
here may start a thread before it forks.
"""

import json
import os
import signal
import sys
import tempfile
import time
import traceback

from data_prep.convert.convert import convert
from data_prep.convert.settings import ConvertSettings
from data_prep.preprocess.preprocess import preprocess
from data_prep.readers.nifti import read_nifti
from mrct.storage.local_path import LocalPath


def main() -> None:
    """For each line `seconds` convert and kill after that long; `inf` waits for the end.

    Arguments: the store, the manifest, the key file. Answers each line with how long it ran and
    whether it was killed.
    """
    out, manifest, key = map(LocalPath, sys.argv[1:])
    settings = ConvertSettings(
        out=out,
        manifest=manifest,
        key_file=key,
        spacing_mm=(6.0, 8.0, 8.0),
        size=(24, 24),
        workers=0,
    )
    first = manifest.with_name("0.nii")
    volume = read_nifti(first, modality="mri", pseudonym="p")
    preprocess(volume, settings.preprocessing)
    for line in sys.stdin:
        told = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed below, by the parent alone
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            os.dup2(told.fileno(), 2)
            try:
                convert(settings)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        deadline = started + float(line)
        ended = 0
        while not ended and time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.0005)
        if not ended:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        told.seek(0)
        answer = {"ran_s": time.monotonic() - started, "code": code, "told": told.read()}
        told.close()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
