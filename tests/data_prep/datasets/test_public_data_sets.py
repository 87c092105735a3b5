"""Every command of docs/public-data-sets.md finds the volumes of the layout above it."""

import re
import shlex
from collections import Counter
from pathlib import Path

import pytest

from data_prep.convert.conversion_plan import find_volumes
from data_prep.convert.settings import ConvertSettings
from mrct.cli import parse
from tests.conftest import ROOT
from tests.support.series import setting, write_series
from tests.support.volumes import touch_files

PAGE = (ROOT / "docs/public-data-sets.md").read_text()
EXPECTED = {  # MRIs, CTs, subjects, pairs
    "SynthRAD 2023 and 2025, task 1": (1, 1, 1, 1),
    "CERMEP-IDB-MRXFDG": (1, 1, 1, 1),
    "BIDS with several acquisitions or runs": (1, 1, 1, 0),
    "nnU-Net raw": (1, 1, 2, 0),
    "AMOS 2022": (2, 1, 3, 0),
    "Learn2Reg AbdomenMRCT": (1, 2, 2, 0),
    "HaN-Seg": (1, 1, 1, 0),
    "Gold Atlas, male pelvis": (1, 1, 1, 1),
    "CHAOS": (1, 1, 2, 0),
    "MM-WHS": (1, 1, 2, 0),
    "CFB-GBM": (1, 1, 1, 1),
    "IXI": (2, 1, 3, 0),
}


def sections() -> dict[str, tuple[list[str], str]]:
    """The paths and the command of each data set."""
    found = {}
    for section in PAGE.split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        layout, _, command = text.partition("\nCommand:\n")
        paths = re.findall(r"^ {4}(\S+)$", layout, re.MULTILINE)
        words = " ".join(re.findall(r"^ {4,}(.+?)\\?$", command, re.MULTILINE))
        if words:
            found[title] = (paths, words)
    return found


def test_every_data_set_of_the_page_is_tested():
    assert sections().keys() == EXPECTED.keys()


@pytest.mark.parametrize("title", EXPECTED)
def test_its_command_finds_its_layout(title, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths, words = sections()[title]
    touch_files(tmp_path, *(path for path in paths if not path.endswith(".dcm")))
    for number, path in enumerate(path for path in paths if path.endswith(".dcm")):
        modality = "CT" if "CT" in path else "MR"
        tags = setting(SeriesInstanceUID=f"2.{number}", PatientID="anonymous")
        write_series(Path(path).parent, tags, modality=modality, name=f"{modality}{{:03d}}.dcm")

    settings = parse(ConvertSettings, shlex.split(words)[4:], prog="convert")
    found = find_volumes(settings).volumes

    counts = Counter(volume.modality for volume in found)
    subjects = {volume.subject for volume in found}
    pairs = {volume.pair for volume in found if volume.pair}
    assert (counts["mri"], counts["ct"], len(subjects), len(pairs)) == EXPECTED[title]
