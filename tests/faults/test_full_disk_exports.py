"""P13: an export that does not fit ends with the error of the system, and publishes nothing.

torch's own writer ended the process there (SIGABRT), so the export is a process of its own.
"""

import json
import subprocess
import sys

import pytest

from cyclegan.export.formats import FILES
from tests.conftest import ROOT

EXPORTS = """
import json, sys
from pathlib import Path
import torch
from cyclegan.export.formats import FILES, write_formats
from cyclegan.export.model_folder import CONTENT, publish_folder
from cyclegan.nets.generator import Generator
from tests.support.full_disk import files_no_larger_than

torch.set_num_threads(1)
network = Generator(filters=4, blocks=1, upsample="resize")
out = Path(sys.argv[1])
out.mkdir()
write_formats(network, 1, out)
sizes = {name: (out / name).stat().st_size for name in FILES.values()}

def fill(partial):
    for name in CONTENT:
        (partial / name).touch()
    write_formats(network, 1, partial)

told = {}
for name, size in sizes.items():
    with files_no_larger_than(size - 1):
        try:
            publish_folder(out / "model", fill)
        except OSError as error:
            told[name] = error.strerror
print(json.dumps([sizes, told, sorted(path.name for path in out.iterdir())]))
"""


@pytest.mark.slow
def test_an_export_that_does_not_fit_is_told_and_leaves_nothing(tmp_path):
    exports = subprocess.run(
        [sys.executable, "-c", EXPORTS, tmp_path / "out"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert exports.returncode == 0, exports.stderr[-2000:]
    sizes, told, left = json.loads(exports.stdout.splitlines()[-1])
    assert max(sizes.values()) == sizes[FILES["pt2"]], "else its writer is not tried"
    assert told == dict.fromkeys(FILES.values(), "File too large")
    assert left == sorted(FILES.values())
