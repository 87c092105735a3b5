"""The three stages of a translation: read a volume, run the network, write the result.

Each stage takes the output of the one before; an error with a volume becomes its refusal, which
passes through the later stages.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cyclegan.translate.command import Format
from cyclegan.translate.dicom_ct import SyntheticSeriesMetadata
from cyclegan.translate.dicom_source import Origin, deidentify, origin_of_file, origin_of_series
from cyclegan.translate.engine import TableEngine, TranslationEngine, prepare_input
from cyclegan.translate.inputs import Input, StoredInput
from cyclegan.translate.output_grid import axial, on_grid
from cyclegan.translate.preview import save_preview
from cyclegan.translate.uncertainty import passes, uncertainty
from cyclegan.translate.written_results import PRIVATE, WrittenResult, short_label, write_result
from data_prep.convert.pseudonyms import Key
from data_prep.convert.quarantine import Refusal
from data_prep.preprocess.preprocess import PreprocessedVolume
from data_prep.readers.nifti import DESCRIPTION_LENGTH, write_nifti
from mrct.errors import STORAGE_FULL_ERRNOS, VolumeError, as_volume_error
from mrct.imaging.volume import Grid

_RESULT_NAME_LENGTH = 12
_UNSURE = (0.0, 32767.0)
"""Largest range of an int16."""
Stage = TypeVar("Stage")


@dataclass(frozen=True, kw_only=True, slots=True)
class TranslationOutcome:
    """The outcome for one input."""

    input: Input
    sha256: str = ""
    """SHA-256 of its content; empty if it could not be read."""
    result: Path | None = None
    """Path of the result; None if the input was refused."""
    is_new: bool = False
    """Whether the result was made now; False if it already existed."""
    refusal: Refusal | None = None
    notes: tuple[str, ...] = ()
    """Sentences about what was corrected in the file or could not be checked."""
    warnings: tuple[str, ...] = ()
    """Sentences about differences from the training data."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedInput:
    """A volume preprocessed for the network."""

    input: Input
    sha256: str
    result: WrittenResult
    metadata: SyntheticSeriesMetadata
    shown: PreprocessedVolume
    origin: Origin | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TranslatedInput:
    """A synthetic volume on the model's grid."""

    loaded: LoadedInput
    values: NDArray[np.float32]
    """Values [z, y, x] in HU or MRI units."""
    uncertainty: NDArray[np.float32] | None
    """Uncertainty in the same unit, if requested."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TranslationJob:
    """The options and stages applied to every input."""

    engine: TranslationEngine | TableEngine
    inverse: TranslationEngine | None = None
    """The model of the other direction, for the uncertainty."""
    out: Path
    made_by: str
    """First digits of the hash of the model."""
    format: Format = "same"
    axial: bool = False
    keep_names: bool = False
    overwrite: bool = False
    uncertainty: bool = False
    preview: bool = False
    key: Key | None = None
    """Key for the pseudonyms that replace patient data in DICOM; None keeps the data."""
    labels: Counter[str] = field(default_factory=Counter)
    """Number of inputs with each label."""
    listed: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """Results in the list of results, by SHA-256 of the input and name, and their warnings."""
    read_list: Callable[[], Mapping[tuple[str, str], tuple[str, ...]]] = dict
    """Reads the list again: other processes may have added to it."""
    progress_lines: Callable[[str], None] = lambda text: None
    """Called with the progress of the network as text."""

    def read(self, item: Input) -> LoadedInput | TranslationOutcome:
        """Read and preprocess an input, unless its result exists or it cannot be used."""
        return self._guarded(item, "", lambda: self._read(item))

    def translate(
        self, stage: LoadedInput | TranslationOutcome
    ) -> TranslatedInput | TranslationOutcome:
        """Run the network."""
        if isinstance(stage, TranslationOutcome):
            return stage
        return self._guarded(stage.input, stage.sha256, lambda: self._translate(stage))

    def write(self, stage: TranslatedInput | TranslationOutcome) -> TranslationOutcome:
        """Write the result on its own grid."""
        if isinstance(stage, TranslationOutcome):
            return stage
        loaded = stage.loaded
        return self._guarded(loaded.input, loaded.sha256, lambda: self._write(stage))

    def _read(self, item: Input) -> LoadedInput | TranslationOutcome:
        sha256 = item.sha256()
        result, metadata = self._result_of(item, sha256), self._making_of(sha256)
        there = result.path.exists() or result.path.is_symlink()
        if there and not self.overwrite:
            if result.made_of() != result.mark_of(metadata):
                raise VolumeError(
                    "other-result",
                    "A result of this name exists, from another input or model or with other "
                    "options.",
                    "Give another --out, or --overwrite.",
                )
            # Else it is made again, for the additional files requested now, or for the list, which
            # a kill may have kept from it.
            if made := self._made_before(item, sha256, result):
                return made
        result.check_replaceable()
        notes: list[str] = []
        origin = self._origin_of(item, sha256) if result.is_dicom else None
        if isinstance(item, StoredInput):
            info = self.engine.info
            shown = replace(
                item.preprocessed(), axis=info.height_axis, placed_by=info.preprocessing.size
            )
        else:
            shown = prepare_input(self.engine.info, item.read(notes.append))
        return LoadedInput(
            input=item,
            sha256=sha256,
            result=result,
            metadata=metadata,
            shown=shown,
            origin=origin,
            notes=tuple(notes),
            warnings=tuple(self.engine.warnings(shown)),
        )

    def _made_before(
        self, item: Input, sha256: str, result: WrittenResult
    ) -> TranslationOutcome | None:
        """Return the outcome of a result that is listed and has all additional files."""
        key = (sha256, result.path.name)
        if key not in self.listed:
            self.listed.update(self.read_list())
        extra = [result.uncertainty] * self.uncertainty + [result.preview] * self.preview
        if key not in self.listed or not all(path.exists() for path in extra):
            return None
        return TranslationOutcome(
            input=item, sha256=sha256, result=result.path, warnings=self.listed[key]
        )

    def _translate(self, loaded: LoadedInput) -> TranslatedInput:
        shown, engine, count = loaded.shown, self.engine, 0
        if isinstance(engine, TableEngine):
            return TranslatedInput(loaded=loaded, values=engine.values(shown), uncertainty=None)
        total = len(shown.voxels) * (passes(self.inverse) if self.uncertainty else 1)

        def done(slices: int) -> None:
            nonlocal count
            count += slices
            self.progress_lines(f"slice {count} of {total}")

        images = engine.images(shown)
        translated = engine.run(images, shown, done)
        unsure = None
        if self.uncertainty:
            unsure = uncertainty(engine, self.inverse, images, translated, shown, done)
        values = engine.values(translated, shown)
        return TranslatedInput(loaded=loaded, values=values, uncertainty=unsure)

    def _write(self, made: TranslatedInput) -> TranslationOutcome:
        loaded, shown = made.loaded, made.loaded.shown
        result, metadata, grid = loaded.result, loaded.metadata, self._grid_of(shown)
        # An equal input may have been translated meanwhile, by this process or another.
        is_there = not self.overwrite and result.made_of() == result.mark_of(metadata)
        if is_there and (before := self._made_before(loaded.input, loaded.sha256, result)):
            return before
        if made.uncertainty is not None:
            unsure = on_grid(made.uncertainty, shown.grid, grid, _UNSURE)
            unsure_by = f"unsure by; {metadata.text}"[:DESCRIPTION_LENGTH]
            write_nifti(result.uncertainty, unsure, grid.affine, unsure_by, mode=PRIVATE)
        if self.preview:
            target = self.engine.info.target
            name = loaded.sha256[:_RESULT_NAME_LENGTH]
            save_preview(result.preview, name, shown, made.values, target, made.uncertainty)
        voxels = on_grid(made.values, shown.grid, grid, self.engine.window)
        write_result(result, voxels, grid.affine, metadata, loaded.origin)
        return TranslationOutcome(
            input=loaded.input,
            sha256=loaded.sha256,
            result=loaded.result.path,
            is_new=True,
            notes=loaded.notes,
            warnings=loaded.warnings,
        )

    def _grid_of(self, shown: PreprocessedVolume) -> Grid:
        return axial(shown.source) if self.axial else shown.source

    def _result_of(self, item: Input, sha256: str) -> WrittenResult:
        """Return the result, named by the hash of the content, or by the input's name with
        --keep-names."""
        name = sha256[:_RESULT_NAME_LENGTH]
        if item.frame:
            name += f"-{item.frame}"
        if isinstance(item, StoredInput):
            name = item.label
        elif self.keep_names:
            label = short_label(item.label)
            name = label if self.labels[item.label] == 1 else f"{label}-{name}"
        is_dicom = self.format == "dicom" or (self.format == "same" and item.series is not None)
        target = self.engine.info.target
        return WrittenResult(
            out=self.out, name=name, target=target, is_dicom=is_dicom and target == "ct"
        )

    def _making_of(self, sha256: str) -> SyntheticSeriesMetadata:
        engine = self.engine
        target = engine.info.target
        words = [f"synthetic {target}", f"model {self.made_by}", f"input {sha256[:16]}"]
        ways = {"axial": self.axial, "raw": not engine.air_outside}
        ways["bf16"] = engine.precision == "bf16"
        # Else an earlier result with patient data would be accepted as the de-identified one.
        ways["deidentified"] = self.key is not None
        words += [word for word, is_so in ways.items() if is_so]
        return SyntheticSeriesMetadata(text="; ".join(words), is_moved=self.axial)

    def _origin_of(self, item: Input, sha256: str) -> Origin:
        series = item.series
        if series is not None and series.error:
            raise series.error
        name = sha256[:_RESULT_NAME_LENGTH]
        origin = origin_of_series(series) if series else origin_of_file(name)
        return deidentify(origin, self.key) if self.key and series else origin

    def _guarded(
        self, item: Input, sha256: str, stage: Callable[[], Stage]
    ) -> Stage | TranslationOutcome:
        """Return the output of a stage, or the refusal of its volume; a full disk raises."""
        try:
            return stage()
        except Exception as error:
            if isinstance(error, OSError) and error.errno in STORAGE_FULL_ERRNOS:
                raise
            refused = as_volume_error(error)
            refusal = Refusal(
                number=item.number,
                name=self.engine.info.source,
                sha256=sha256 or _sha256_if_readable(item),
                code=refused.code,
                reason=refused.reason,
                remedy=refused.remedy,
            )
            return TranslationOutcome(input=item, sha256=refusal.sha256, refusal=refusal)


def _sha256_if_readable(item: Input) -> str:
    """Return the hash that identifies an input without its name, or an empty string."""
    try:
        return item.sha256()
    except Exception:  # unreadable, which is why it was refused
        return ""
