"""Canaries: distinct strings in every text field of input files, and the search for them."""

import gzip
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import RLELossless

from data_prep.dicom.tags import HEADER_TAGS
from tests.support.series import Change, both, every, on, set_pixels, setting, write_series
from tests.support.volumes import write_head

WORD = "KANARIE"
_TEXT = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
_OF_PATIENTS = ("PatientName", "PatientID", "IssuerOfPatientID")


class Cage:
    """Hands out canaries and remembers them; each text in upper case and at most 16 long."""

    def __init__(self) -> None:
        self.birds: list[str] = []

    def bird(self) -> str:
        """A text that has been nowhere yet."""
        self.birds.append(f"{WORD}{len(self.birds):06d}")
        return self.birds[-1]

    def in_tags(self, *, one_in: int) -> Change:
        """A change that fills text tags of the standard, private ones, items and the preamble.

        `one_in` 1 takes all of the standard's, 20 each 20th (it is faster). All slices of a series
        carry the same ones; a tag that decides how pixels are read keeps its value.
        """
        keywords = [
            keyword
            for tag, (vr, _, _, _, keyword) in DicomDictionary.items()
            if vr in _TEXT and tag >> 16 > 2 and keyword not in {"", *HEADER_TAGS}
        ]
        texts = {keyword: self.bird() for keyword in (*_OF_PATIENTS, *keywords[::one_in])}
        item = {keyword: self.bird() for keyword in ("PatientID", "IssuerOfPatientID", "TextValue")}
        private = {vr: self.bird() for vr in ("LO", "UT", "SH", "LT", "PN")}
        meta = [self.bird() for _ in range(3)]
        kind = self.bird()

        def change(index: int, dataset: Any) -> None:
            for keyword, text in texts.items():
                setattr(dataset, keyword, text)
            inner = Dataset()
            for keyword, text in item.items():
                setattr(inner, keyword, text)
            dataset.OtherPatientIDsSequence = Sequence([inner])
            dataset.RequestAttributesSequence = Sequence([inner])
            block = dataset.private_block(0x0029, meta[0], create=True)
            for element, (vr, text) in enumerate(private.items()):
                block.add_new(element, vr, text)
            block.add_new(0x77, "UN", meta[0].encode())
            dataset.file_meta.SourceApplicationEntityTitle = meta[1]
            dataset.file_meta.ImplementationVersionName = meta[2]
            dataset.preamble = meta[2].encode().ljust(128, b"\0")
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", kind]

        return change

    def series(
        self, folder: Path, change: Change, *, modality: str = "CT", number: int = 1
    ) -> Path:
        """A series full of canaries, under a folder and file names that are ones too."""
        where = folder / self.bird()
        uids = setting(SeriesInstanceUID=f"1.2.9.{number}", StudyInstanceUID=f"1.2.8.{number}")
        name = self.bird() + "_{:03d}.dcm"
        tags = self.in_tags(one_in=1 if number == 0 else 20)
        return write_series(where, both(tags, uids, change), modality=modality, name=name)

    def head(self, folder: Path, modality: str, number: int) -> Path:
        """A NIfTI head with canaries in all its text fields, in an extension and in its name."""
        path = write_head(folder / f"{self.bird()}.nii.gz", modality, number)
        image = nibabel.load(path)
        for field in ("descrip", "aux_file", "intent_name", "db_name"):
            image.header[field] = self.bird().encode()
        comment = nibabel.nifti1.Nifti1Extension("comment", self.bird().encode())
        image.header.extensions.append(comment)
        path.write_bytes(gzip.compress(image.to_bytes()))
        return path

    def harmful_series(self, folder: Path) -> None:
        """Series that are refused at every stage, most of them over a value that is a canary."""
        faults: list[Change] = [
            on(3, RescaleType=self.bird()),
            on(3, PatientName=self.bird()),
            lambda index, dataset: setattr(dataset.file_meta, "TransferSyntaxUID", "1.2.3.77"),
            on(3, Modality=self.bird()),
            on(3, PhotometricInterpretation=self.bird()),
            on(3, ImagePositionPatient=[-8, 10, -80.3]),
            lambda index, dataset: set_pixels(dataset, np.zeros((40, 36))),
            every(lambda dataset: dataset.compress(RLELossless)),
            on(3, PatientBirthDate="19010204"),
        ]
        for number, fault in enumerate(faults, start=50):
            where = self.series(folder, fault, number=number)
            if number == 57:
                path = sorted(where.iterdir())[2]
                path.write_bytes(path.read_bytes()[:-500] + self.bird().encode() * 20)
        # Values that are not what their tag asks for, which pydicom would quote in a warning.
        for number, wrong in enumerate(
            (b"-8.0\\10.0\\-87.0", b"1.0\\0.0\\0.0\\0.0\\1.0\\0.0", b"0.9\\0.8", b"ISO_IR 192"),
            start=70,
        ):
            utf8 = setting(SpecificCharacterSet="ISO_IR 192")
            path = sorted(self.series(folder, utf8, number=number).iterdir())[1]
            whole, text = path.read_bytes(), self.bird().encode().ljust(len(wrong))
            assert whole.count(wrong) == 1
            path.write_bytes(whole.replace(wrong, text[: len(wrong)]))
        (folder / f"{self.bird()}.dcm").write_bytes(self.bird().encode() * 9)
        path = sorted(self.series(folder, setting(), number=80).iterdir())[4]
        path.write_bytes(path.read_bytes()[:3000])

    def harmful_files(self, folder: Path, modality: str) -> None:
        """NIfTI, MHA and NRRD files that are refused, with canaries in names and content."""
        text = self.bird().encode()
        for suffix in (".nii", ".nii.gz", ".mha", ".nrrd"):
            (folder / f"{self.bird()}{suffix}").write_bytes(text * 200)
            (folder / f"{self.bird()}{suffix}").write_bytes(gzip.compress(text * 200))
        whole = gzip.decompress(self.head(folder, modality, 90).read_bytes())
        (folder / f"{self.bird()}.nii").write_bytes(whole[:-100])
        (folder / f"{self.bird()}.nii").write_bytes(whole[:348] + text * 10 + whole[500:])
        (folder / f"{self.bird()}.mha").write_text(
            f"ObjectType = Image\nNDims = 3\nComment = {self.bird()}\n"
            f"DimSize = {self.bird()} 4 4\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
        )
        (folder / f"{self.bird()}.mha").write_text(
            f"ObjectType = Image\nNDims = 3\nElementDataFile = {self.bird()}.raw\n"
        )
        (folder / f"{self.bird()}.nrrd").write_text(
            f"NRRD0004\n# {self.bird()}\n{self.bird()}:={self.bird()}\ntype: {self.bird()}\n\n"
        )


def found_below(folder: Path, *, except_for: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """(place, what stands there) for each canary in names and contents below a folder."""
    for path in sorted(folder.rglob("*")):
        where = str(path.relative_to(folder))
        if WORD in where.upper():
            yield where, "its name"
        if path.is_file() and not path.is_symlink() and not where.endswith(except_for):
            for text in birds_in(path.read_bytes()):
                yield where, text


def birds_in(content: bytes) -> list[str]:
    """Canaries in bytes, also inside gzip and zip files and in UTF-16, whatever their case."""
    if content[:2] == b"\x1f\x8b":
        content += gzip.decompress(content)
    if content[:4] == b"PK\3\4":
        with zipfile.ZipFile(BytesIO(content)) as archive:
            content += b"".join(archive.read(name) for name in archive.namelist())
    text = content.replace(b"\0", b"").upper()
    starts = text.split(WORD.encode())[1:]
    return [WORD + start[:6].decode("ascii", "replace") for start in starts]
