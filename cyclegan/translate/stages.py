"""The three stages of a translation: read a volume, send it through the network, write the result.

Each takes what the one before gave; what goes wrong with a volume becomes its refusal and passes
through the stages after it.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cyclegan.export.training_stats import unfamiliar
from cyclegan.translate.command import Format
from cyclegan.translate.dicom_ct import Making
from cyclegan.translate.dicom_source import Origin, deidentified, origin_of_file, origin_of_series
from cyclegan.translate.engine import Engine, shown_to
from cyclegan.translate.inputs import Input, StoredInput
from cyclegan.translate.output_grid import axial, on_grid
from cyclegan.translate.preview import save_preview
from cyclegan.translate.uncertainty import passes, uncertainty
from cyclegan.translate.written_results import Result, write_volume
from data_prep.convert.pseudonyms import Key
from data_prep.convert.quarantine import Refusal
from data_prep.preprocess.preprocess import HarmonisedVolume
from data_prep.readers.nifti import DESCRIPTION_LENGTH, write_nifti
from data_prep.readers.tolerances import Leniency
from mrct.errors import STORAGE_FULL_ERRNOS, VolumeError, as_volume_error
from mrct.imaging.volume import Grid

_RESULT_NAME_LENGTH = 12
_UNSURE = (0.0, 32767.0)
"""No more fits into an int16."""
Stage = TypeVar("Stage")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one input."""

    input: Input
    sha256: str = ""
    """Of its content; empty where that could not be read."""
    result: Path | None = None
    """None where it was refused."""
    is_new: bool = False
    """Whether it was made now, and not there already."""
    refusal: Refusal | None = None
    notes: tuple[str, ...] = ()
    """What was put right in the file or could not be checked, a sentence each."""
    warnings: tuple[str, ...] = ()
    """In what the volume is unlike those that the model learned from."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Loaded:
    """A volume in the form that the network wants."""

    input: Input
    sha256: str
    result: Result
    making: Making
    shown: HarmonisedVolume
    origin: Origin | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Made:
    """A synthetic volume on the model's grid."""

    loaded: Loaded
    values: NDArray[np.float32]
    """[z, y, x], HU or MRI units."""
    uncertainty: NDArray[np.float32] | None
    """In the same unit, where it was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is done to every input."""

    engine: Engine
    back: Engine | None = None
    """The model of the other direction, for the uncertainty."""
    out: Path
    made_by: str
    """Which model: the first digits of its hash."""
    format: Format = "same"
    axial: bool = False
    keep_names: bool = False
    overwrite: bool = False
    uncertainty: bool = False
    preview: bool = False
    leniency: Leniency = field(default_factory=Leniency)
    key: Key | None = None
    """Replaces what names a patient in DICOM; None keeps it."""
    labels: Counter[str] = field(default_factory=Counter)
    """How often each label is among the inputs."""
    heard: Callable[[str], None] = lambda text: None
    """Hears how far the network is."""

    def read(self, item: Input) -> Loaded | Outcome:
        """The input as the network wants it, unless its result is there or it cannot be used."""
        return self._guarded(item, "", lambda: self._read(item))

    def translate(self, stage: Loaded | Outcome) -> Made | Outcome:
        """The synthetic volume."""
        if isinstance(stage, Outcome):
            return stage
        return self._guarded(stage.input, stage.sha256, lambda: self._translate(stage))

    def write(self, stage: Made | Outcome) -> Outcome:
        """The result on its own grid, in its files."""
        if isinstance(stage, Outcome):
            return stage
        loaded = stage.loaded
        return self._guarded(loaded.input, loaded.sha256, lambda: self._write(stage))

    def _read(self, item: Input) -> Loaded | Outcome:
        sha256 = item.sha256()
        result, making = self._result_of(item, sha256), self._making_of(sha256)
        there = result.path.exists() or result.path.is_symlink()
        if there and not self.overwrite:
            if result.made_of() != result.mark_of(making):
                raise VolumeError(
                    "other-result",
                    "A result of this name is there, made of another input, by another model or in "
                    "another way.",
                    "Give another --out, or --overwrite.",
                )
            # Else it is made once more, for what is asked for beside it now.
            extra = [result.uncertainty] * self.uncertainty + [result.preview] * self.preview
            if all(path.exists() for path in extra):
                return Outcome(input=item, sha256=sha256, result=result.path)
        result.check_replaceable()
        notes: list[str] = []
        origin = self._origin_of(item, sha256) if result.is_dicom else None
        if isinstance(item, StoredInput):
            shown = item.harmonised()
        else:
            shown = shown_to(self.engine.model.info, item.read(self.leniency, notes.append))
        return Loaded(
            input=item,
            sha256=sha256,
            result=result,
            making=making,
            shown=shown,
            origin=origin,
            notes=tuple(notes),
            warnings=tuple(unfamiliar(self.engine.model.info.trained_on, shown)),
        )

    def _translate(self, loaded: Loaded) -> Made:
        shown, engine, count = loaded.shown, self.engine, 0
        total = len(shown.voxels) * (passes(self.back) if self.uncertainty else 1)

        def done(slices: int) -> None:
            nonlocal count
            count += slices
            self.heard(f"slice {count} of {total}")

        images = engine.images(shown)
        translated = engine.run(images, shown, done)
        unsure = None
        if self.uncertainty:
            unsure = uncertainty(engine, self.back, images, translated, shown, done)
        values = engine.values(translated, shown)
        return Made(loaded=loaded, values=values, uncertainty=unsure)

    def _write(self, made: Made) -> Outcome:
        loaded, shown = made.loaded, made.loaded.shown
        result, making, grid = loaded.result, loaded.making, self._grid_of(shown)
        if made.uncertainty is not None:
            unsure = on_grid(made.uncertainty, shown.grid, grid, _UNSURE)
            unsure_by = f"unsure by; {making.text}"[:DESCRIPTION_LENGTH]
            write_nifti(result.uncertainty, unsure, grid.affine, unsure_by)
        if self.preview:
            target = self.engine.model.info.target
            picture = (shown, made.values, target, made.uncertainty)
            save_preview(result.preview, loaded.sha256[:_RESULT_NAME_LENGTH], *picture)
        voxels = on_grid(made.values, shown.grid, grid, self.engine.window)
        write_volume(result, voxels, grid.affine, making, loaded.origin)
        return Outcome(
            input=loaded.input,
            sha256=loaded.sha256,
            result=loaded.result.path,
            is_new=True,
            notes=loaded.notes,
            warnings=loaded.warnings,
        )

    def _grid_of(self, shown: HarmonisedVolume) -> Grid:
        return axial(shown.source) if self.axial else shown.source

    def _result_of(self, item: Input, sha256: str) -> Result:
        """Its name is the content's hash, or the owner's name for it where that is wished for."""
        name = sha256[:_RESULT_NAME_LENGTH]
        if item.frame:
            name += f"-{item.frame}"
        if isinstance(item, StoredInput):
            name = item.label
        elif self.keep_names:
            name = item.label if self.labels[item.label] == 1 else f"{item.label}-{name}"
        is_dicom = self.format == "dicom" or (self.format == "same" and item.series is not None)
        target = self.engine.model.info.target
        return Result(out=self.out, name=name, target=target, is_dicom=is_dicom and target == "ct")

    def _making_of(self, sha256: str) -> Making:
        engine = self.engine
        target = engine.model.info.target
        words = [f"synthetic {target}", f"model {self.made_by}", f"input {sha256[:16]}"]
        ways = {"axial": self.axial, "raw": not engine.air_outside}
        ways["bf16"] = engine.precision == "bf16"
        # Else an identified result of before would pass for the one that was asked for now.
        ways["deidentified"] = self.key is not None
        words += [word for word, is_so in ways.items() if is_so]
        return Making(text="; ".join(words), is_moved=self.axial)

    def _origin_of(self, item: Input, sha256: str) -> Origin:
        series = item.series
        if series is not None and series.error:
            raise series.error
        name = sha256[:_RESULT_NAME_LENGTH]
        origin = origin_of_series(series) if series else origin_of_file(name)
        return deidentified(origin, self.key) if self.key and series else origin

    def _guarded(self, item: Input, sha256: str, stage: Callable[[], Stage]) -> Stage | Outcome:
        """What a stage gives, or the refusal of its volume; a full disk stops all of them."""
        try:
            return stage()
        except Exception as error:
            if isinstance(error, OSError) and error.errno in STORAGE_FULL_ERRNOS:
                raise
            refused = as_volume_error(error)
            refusal = Refusal(
                number=item.number,
                name=self.engine.model.info.source,
                sha256=sha256 or _sha256_if_readable(item),
                code=refused.code,
                reason=refused.reason,
                remedy=refused.remedy,
            )
            return Outcome(input=item, sha256=refusal.sha256, refusal=refusal)


def _sha256_if_readable(item: Input) -> str:
    """Tells people which input was meant without its name."""
    try:
        return item.sha256()
    except Exception:  # that is why it was refused
        return ""
