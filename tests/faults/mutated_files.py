"""Mutated files, read as volumes are, and what may come of them.

Each gives a volume or an error for people. The parent neither dies nor grows, no file takes longer
than the cap, and none appears beside the one that is read.
"""

import gzip
import io
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import SimpleITK
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from data_prep.dicom.series import Series, find_series
from data_prep.readers.nifti import write_nifti
from data_prep.readers.tolerances import Leniency
from data_prep.sources.source import Source
from mrct.errors import VolumeError
from mrct.imaging.modality import Modality
from mrct.imaging.volume import ignore_note
from mrct.storage.local_path import LocalPath
from tests.faults.injections import Inject
from tests.faults.mutations import mutated
from tests.support.compression import COMPRESSED, compress
from tests.support.series import SHAPE, Change, every, nothing, values, write_enhanced, write_series

MOST_S = 30.0
"""For one file; what takes longer would hold up a conversion."""
MOST_GROWTH_BYTES = 300 << 20
"""Of the parent over all files: one header may cost some, none may stay."""
LENIENT = Leniency(resample_tilt=True, resample_irregular=True, assume_hu=True, assume_affine=True)
AFFINE = np.array([[-0.8, 0, 0, 8], [0, -0.9, 0, 10], [0, 0, 3, -90], [0, 0, 0, 1.0]])


def single_files(folder: Path) -> dict[str, Path]:
    """Each format of one file, plain and packed."""
    voxels = values("CT").astype(np.int16)
    image = SimpleITK.GetImageFromArray(voxels)
    write_nifti(folder / "a.nii", voxels, AFFINE)
    write_nifti(folder / "b.nii.gz", voxels, AFFINE)
    for name in ("c.mha", "d.nrrd"):
        SimpleITK.WriteImage(image, folder / name)
        SimpleITK.WriteImage(image, folder / f"packed-{name}", True)
    return {path.name: path for path in sorted(folder.iterdir())}


def as_jpeg(index: int, dataset: Dataset) -> None:
    """8 bits, lossy: none of the codecs here writes it as DICOM."""
    pixels = (values("MR")[index] // 2).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = encapsulate([stream.getvalue()])
    dataset["PixelData"].VR = "OB"


def series_folders(folder: Path, real: Path) -> dict[str, Path]:
    """A series in each coding: those that can be written here, and those of real ones, if any."""
    changes: dict[str, tuple[str, Change]] = {
        "plain": ("CT", nothing),
        **{
            name: ("MR", every(partial(compress, syntax=syntax)))
            for name, syntax in COMPRESSED.items()
        },
        "deflated": (
            "CT",
            lambda i, d: setattr(d.file_meta, "TransferSyntaxUID", DeflatedExplicitVRLittleEndian),
        ),
        "jpeg": ("MR", as_jpeg),
    }
    folders = {
        name: write_series(folder / name, change, modality=modality, without=range(4, SHAPE[0]))
        for name, (modality, change) in changes.items()
    }
    folders["enhanced"] = write_enhanced(folder / "enhanced" / "a.dcm").parent
    for name in ("compressed_jpegls", "compressed_jpeg", "compressed_j2k"):
        if (real / name).is_dir():
            folders[name] = Path(shutil.copytree(real / name / "001", folder / name))
    return folders


def outcome_of(path: Path) -> str:
    """What comes of the file, or of all series of its folder; fails the test on anything odd."""
    if path.suffix == ".dcm":
        found = find_series(path.parent)
        sources = [source(each.paths[0].parent, each.modality or "ct", each) for each in found]
    else:
        sources = [source(path, "ct", None)]
    outcomes = set()
    for each in sources:
        try:
            volume = each.read(ignore_note)
        except VolumeError as error:
            outcomes.add(error.code)
        else:
            assert np.isfinite(volume.voxels).all()
            assert np.isfinite(volume.affine).all()
            outcomes.add("volume")
    return "+".join(sorted(outcomes))


def source(path: Path, modality: Modality, series: Series | None) -> Source:
    return Source(
        path=path,
        modality=modality,
        pseudonym="p",
        subject="s",
        split=None,
        pair=None,
        series=series,
        leniency=LENIENT,
    )


def changed(path: Path, content: bytes, draw: random.Random) -> bytes:
    """Mutated content; what is inside a gzip stream half of the time."""
    if path.suffix == ".gz" and draw.random() < 0.5:
        return gzip.compress(mutated(gzip.decompress(content), draw), 1)
    return mutated(content, draw)


def everything_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@contextmanager
def mutated_files(folder: LocalPath) -> Iterator[Inject]:
    """Each injection mutates one file of one format or coding."""
    (folder / "cwd").mkdir()
    (folder / "files").mkdir()
    targets = single_files(folder / "files")
    real = Path(__file__).resolve().parents[3] / "shared/data/odd/transfer_syntaxes"
    for name, series in series_folders(folder / "series", real).items():
        targets[name] = sorted(series.glob("*.dcm"))[0]
    assert {outcome_of(path) for path in targets.values()} == {"volume"}
    originals = {path: path.read_bytes() for path in targets.values()}
    before, parent = everything_in(folder), psutil.Process()
    resident = parent.memory_info().rss

    def inject(number: int) -> str:
        draw = random.Random(number)
        name, path = draw.choice(list(targets.items()))
        path.write_bytes(changed(path, originals[path], draw))
        started = time.monotonic()
        try:
            outcome = outcome_of(path)
        finally:
            path.write_bytes(originals[path])
        took_s = time.monotonic() - started
        assert took_s < MOST_S, f"mutation {number} of {name} took {took_s:.0f} s"
        assert "crashed" not in outcome.split("+"), f"mutation {number} of {name} is unforeseen"
        assert parent.memory_info().rss - resident < MOST_GROWTH_BYTES
        assert everything_in(folder) == before
        return outcome

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "cwd")  # where a decoder's droppings would fall
        yield inject
