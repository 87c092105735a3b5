"""P9: no patient text in any artefact: canaries in every text of the input, none in the output.

Each text tag of DICOM and field of NIfTI, MHA and NRRD holds a string that is found nowhere else,
also in inputs that are refused. Excepted are the quarantine files and the id maps (0600), what a
user types on the command line, and synthetic DICOM series that are to file beside their source.
"""

import os
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flow.canaries import Cage, birds_in, found_below
from tests.support.listening import run_watched
from tests.support.series import setting

PRIVATE = ("heads.zarr.quarantine.jsonl", "by-ray.zarr.quarantine.jsonl", "id-map.csv")
PRIVATE += ("synthetic.quarantine.jsonl", "synthetic.id-map.csv")
PRIVATE += ("hidden.quarantine.jsonl", "hidden.id-map.csv")
EVERY_KIND = ("--mri-kind", "all", "--ct-kind", "all")
GRID = ("--spacing-mm", "3", "1", "1", "--size", "64", "64", "--split", "0.4", "0.3", "0.3")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where inputs lie, and where everything else is written."""

    inputs: Path
    work: Path
    cage: Cage

    def run(self, *words: str, may_be: tuple[int, ...] = (0,), **env: str) -> str:
        """A command as a user types it, in a job without a terminal; returns all it printed.

        No other machine can connect to it, except to a Ray that asks for the token.
        """
        ended = run_watched(
            [sys.executable, "-m", *words],
            cwd=self.work,
            env={k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
            | {"OMP_NUM_THREADS": "1"}
            | env,
        )
        printed = ended.stdout + ended.stderr
        number = len(list(self.work.glob("*.log")))
        (self.work / f"{number} {words[0]}.log").write_text(printed)
        assert ended.returncode in may_be, printed
        return printed


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Inputs full of canaries, converted without Ray, checked and described."""
    folder, cage = tmp_path_factory.mktemp("p"), Cage()
    place = Place(inputs=folder / "inputs", work=folder / "work", cage=cage)
    place.work.mkdir()
    for modality, name in (("CT", "ct"), ("MR", "mri")):
        for number in range(4):
            series = place.inputs / name / cage.bird()
            cage.series(series, setting(), modality=modality, number=number)
        for number in range(2):
            cage.head(place.inputs / name, name, number)
        cage.harmful_files(place.inputs / name, name)
    cage.harmful_series(place.inputs / "ct" / cage.bird())
    convert = ("data_prep", "convert", "--mri", str(place.inputs / "mri"))
    convert += ("--ct", str(place.inputs / "ct"), "--out", "heads.zarr", *GRID, *EVERY_KIND)
    place.run(*convert, "--dry-run")
    place.run(*convert, "--workers", "0", "--id-map", "id-map.csv", may_be=(3,))
    place.run("data_prep", "check", "heads.zarr", "--full")
    place.run("data_prep", "describe", "heads.zarr", "--notes")
    return place


def test_the_search_finds_what_was_hidden(place):
    hidden = {text for _, text in found_below(place.inputs)}

    assert len(hidden & set(place.cage.birds)) > 1000


def test_inputs_were_accepted_and_refused(place):
    assert "15 written, 0 already there, 40 refused" in (place.work / "1 data_prep.log").read_text()


def test_a_conversion_leaves_no_patient_text(place):
    assert list(found_below(place.work, except_for=PRIVATE)) == []


@pytest.mark.parametrize("name", ["heads.zarr.quarantine.jsonl", "id-map.csv"])
def test_paths_stand_in_private_files_alone(place, name):
    path = place.work / name

    assert birds_in(path.read_bytes())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.ray
@pytest.mark.slow
def test_training_and_all_that_follows_leave_no_patient_text(place):
    # Not below pytest's folder: the path of a socket must be shorter than 108 characters.
    with tempfile.TemporaryDirectory(prefix="ray-") as session:
        ray = {"RAY_TMPDIR": session}
        kept = ("--log-level", "info")  # Ray's files are removed otherwise
        place.run(
            *("data_prep", "convert", "--mri", str(place.inputs / "mri")),
            *("--ct", str(place.inputs / "ct"), "--out", "by-ray.zarr", *GRID),
            *(*EVERY_KIND, "--workers", "2", *kept),
            may_be=(3,),
            **ray,
        )
        train = ("cyclegan.train", "smoke", "--data.store", "heads.zarr", "--run.name", "flow")
        # These crops of heads are of one grey on CT, and a new key may put them alone in a split.
        place.run(*train, "--data.min-deviation", "0", *kept, **ray)
        place.run("cyclegan.evaluate", "runs/flow", **ray)
        place.run("cyclegan.export", "runs/flow", **ray)
        model = ("cyclegan.translate", "runs/flow/model_to_ct", str(place.inputs / "mri"))
        place.run(*model, "--out", "synthetic", "--preview", may_be=(3,))
        place.run(*model, "--out", "hidden", "--deidentify", "--uncertainty", may_be=(3,))

        assert list(Path(session).rglob("*.log")), "Ray's logs lie elsewhere"
        assert list(found_below(Path(session))) == []
    hits = list(found_below(place.work, except_for=PRIVATE))
    assert [hit for hit in hits if not is_identified(*hit)] == []
    assert any(is_identified(*hit) for hit in hits)
    for out in ("synthetic", "hidden"):
        assert list((place.work / out).glob("*_synthetic-ct.nii.gz"))
        assert list((place.work / out).glob("*_synthetic-ct/CT*.dcm"))
    assert list((place.work / "synthetic").glob("*.png"))
    assert list((place.work / "runs/flow").rglob("events.out.tfevents.*"))


def is_identified(where: str, what: str) -> bool:
    """In the content of a synthetic series that keeps its source's patient and study."""
    place = Path(where)
    is_series = place.parts[0] == "synthetic" and place.parent.name.endswith("_synthetic-ct")
    return is_series and place.suffix == ".dcm" and what != "its name"
