"""Predicts a conversion without writing: its volumes, refusals, bytes, time and splits."""

import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from data_prep.convert.conversion_plan import (
    ConversionJob,
    find_volumes,
    leave_out_removed,
    name_sources,
    plan_jobs,
)
from data_prep.convert.disk_usage import BYTES_PER_VOXEL, bytes_needed, in_units, stored_slices
from data_prep.convert.executor import num_workers
from data_prep.convert.header_scan import ScannedHeader, scan_headers, unusable
from data_prep.convert.modality_swap import SWAPPED, seems_swapped
from data_prep.convert.pseudonyms import Key, open_key
from data_prep.convert.settings import ConvertSettings
from data_prep.convert.worker import preprocessed_source
from data_prep.datasets.dataset import FoundVolumes
from data_prep.datasets.series_choice import Ask, table_lines
from data_prep.datasets.split import SPLITS, Split
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.sources.source import Source
from data_prep.store.commits import frozen_splits
from data_prep.store.writer import encoded_bytes
from mrct.errors import VolumeError, as_volume_error
from mrct.imaging.geometry import resample_mask
from mrct.imaging.modality import MODALITIES, Modality
from mrct.imaging.volume import Grid
from mrct.storage.names import printable

_NUM_TIMED = 3
"""Volumes tried per modality until one is usable as the sample."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversionSample:
    """One volume converted in memory, to estimate the time and the bytes of the others."""

    number: int
    """Number of the input in the list."""
    seconds: float
    """Time in this process, with one thread."""
    source_voxels: int
    bytes_per_voxel: float
    """Bytes per stored voxel, image and mask together."""

    def seconds_for(self, grid: Grid) -> float:
        """Return the time of another volume, scaled by its voxels."""
        return self.seconds * grid.num_voxels / self.source_voxels


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversionForecast:
    """The predicted result of a conversion."""

    settings: ConvertSettings
    findings: FoundVolumes
    previews: list[ScannedHeader]
    jobs: list[ConversionJob]
    has_key: bool
    """Whether the key that determines the splits exists; otherwise they are random here."""
    samples: Mapping[Modality, ConversionSample]
    """One sample of each modality that has a usable volume to convert."""
    trial_refusals: Mapping[int, VolumeError]
    """Why inputs tried as samples cannot be converted, by their number."""

    @property
    def is_hopeless(self) -> bool:
        """Whether volumes were tried and none could be converted."""
        return bool(self.trial_refusals) and not self.samples

    @property
    def bytes_needed(self) -> int:
        """Estimated growth of the store."""
        measured = {modality: each.bytes_per_voxel for modality, each in self.samples.items()}
        return bytes_needed(
            self.previews, self.settings.preprocessing, {**BYTES_PER_VOXEL, **measured}
        )

    @property
    def seconds(self) -> float | None:
        """Times of the samples scaled by voxels, over the workers; None without a sample."""
        if not self.samples:
            return None
        total = sum(
            self.samples[each.source.modality].seconds_for(each.grid)
            for each in self.previews
            if each.grid and each.source.modality in self.samples
        )
        return total / self.num_workers

    @property
    def num_workers(self) -> int:
        """Number of volumes converted at a time."""
        return max(1, min(num_workers(self.settings.workers), len(self.jobs)))

    def lines(self, *, with_paths: bool) -> Iterator[str]:
        """Yield the forecast line by line, with the paths of the inputs if requested."""
        splits = {source.name: job.split for job in self.jobs for source in job.sources}
        if self.findings.kinds:
            yield "Kinds of image, by their headers, sidecars and names:"
            yield from table_lines(self.findings.kinds)
        for each in self.previews:
            path = f"  {printable(str(each.source.path))}" if with_paths else ""
            yield f"Input {each.source.number}: {self._line(each, splits)}{path}"
        yield from (f"Skipped {n}: {why}" for why, n in sorted(self.findings.skipped.items()))
        yield from (f"Note: {remark}" for remark in self.findings.remarks)
        yield from self._totals(splits)

    def _line(self, each: ScannedHeader, splits: dict[str, Split]) -> str:
        source = each.source
        kind = f"{source.modality}, {_format_of(source)}"
        if each.refusal:
            return f"{kind}, REFUSED: {each.refusal.code}: {each.refusal}"
        if each.grid is None:
            return f"{kind}, already in the store"
        z, y, x = each.grid.shape
        dz, dy, dx = each.grid.spacing_mm
        slices = stored_slices(each.grid, self.settings.spacing_mm[0])
        ends = f"{slices} slices" + (f" for {splits[source.name]}" if self.has_key else "")
        grid = f"{z} x {y} x {x} of {dz:.3g} x {dy:.3g} x {dx:.3g} mm"
        return f"{kind}, {source.kind}, {grid} -> {ends}"

    def _totals(self, splits: dict[str, Split]) -> Iterator[str]:
        sources = [each.source for each in self.previews if not each.refusal]
        counts = Counter((source.modality, splits[source.name]) for source in sources)
        for modality in MODALITIES:
            dealt = ", ".join(f"{counts[modality, split]} {split}" for split in SPLITS)
            yield f"{modality.upper()}: {dealt}"
        refused = len(self.previews) - len(sources)
        stored = sum(each.is_stored for each in self.previews)
        pairs = sum(len(job.sources) > 1 for job in self.jobs)
        subjects = len({source.subject for source in sources})
        yield (
            f"{len(sources) - stored} volumes to convert, {stored} already there, {refused} "
            f"refused by their headers; {subjects} subjects, {pairs} aligned pairs"
        )
        if not self.has_key:
            yield (
                "The split of each subject depends on the key, which convert creates; only the "
                "counts are final."
            )
        yield from self._trials()
        yield from self._costs()

    def _trials(self) -> Iterator[str]:
        modalities = {each.source.number: each.source.modality for each in self.previews}
        for number, error in self.trial_refusals.items():
            yield (
                f"Input {number} ({modalities[number]}) was converted in memory, REFUSED: "
                f"{error.code}: {error}"
            )
        if self.trial_refusals:
            yield (
                f"{len(self.trial_refusals)} of {len(self.trial_refusals) + len(self.samples)} "
                "trial conversions were refused, and more of the others may be."
            )
        usable = [(modality, "") for modality in self.samples]
        if seems_swapped(
            [(modalities[number], error.code) for number, error in self.trial_refusals.items()]
            + usable
        ):
            yield SWAPPED

    def _costs(self) -> Iterator[str]:
        free = self.settings.out.bytes_free()
        room = f"; {in_units(free)} free" if free is not None else ""
        yield f"Store: about {in_units(self.bytes_needed)} more{room}"
        if self.seconds is not None:
            at_a_time = f"{self.num_workers} volumes at a time, plus the start of Ray"
            yield f"Time: about {self.seconds:.0f} s with {at_a_time}"
        for modality, sample in self.samples.items():
            yield (
                f"  Measured on input {sample.number}, converted in memory: "
                f"{sample.seconds:.1f} s, {sample.bytes_per_voxel:.2f} bytes per voxel; the other "
                f"{modality.upper()}s are scaled by their voxels"
            )
        yield "Nothing was written."


def forecast_conversion(settings: ConvertSettings, ask: Ask | None = None) -> ConversionForecast:
    """Read the headers of the inputs, and convert one volume per modality in memory.

    `ask` asks for the kinds of image where there are several and the settings choose none.
    Raises UsageError as `convert` does.
    """
    settings = settings.absolute()
    findings = find_volumes(settings, ask)
    has_key = settings.key_path.exists()
    key = open_key(settings.key_path) if has_key else Key(secret=secrets.token_bytes(32))
    sources = name_sources(findings.volumes, key, settings.leniency)
    sources = leave_out_removed(sources, settings.out, findings.skipped)
    previews = scan_headers(sources, settings.out)
    jobs = plan_jobs(sources, frozen_splits(settings.out), settings.split, unusable(previews))
    samples, trial_refusals = _samples(previews, settings.preprocessing)
    return ConversionForecast(
        settings=settings,
        findings=findings,
        previews=previews,
        jobs=jobs,
        has_key=has_key,
        samples=samples,
        trial_refusals=trial_refusals,
    )


def _samples(
    previews: list[ScannedHeader], spec: PreprocessingSpec
) -> tuple[dict[Modality, ConversionSample], dict[int, VolumeError]]:
    """Convert the first usable volume of each modality in memory; also return the refusals."""
    _warm_up()
    samples: dict[Modality, ConversionSample] = {}
    refusals: dict[int, VolumeError] = {}
    for modality in MODALITIES:
        to_come = [p.source for p in previews if p.grid and p.source.modality == modality]
        for source in to_come[:_NUM_TIMED]:
            try:
                samples[modality] = _sample(source, spec)
                break
            except Exception as error:  # as in a conversion: one source's fault is not the others'
                refusals[source.number] = as_volume_error(error)
    return samples, refusals


def _sample(source: Source, spec: PreprocessingSpec) -> ConversionSample:
    started = time.perf_counter()
    preprocessed = preprocessed_source(source, spec, None, lambda note: None)
    size_bytes = encoded_bytes(preprocessed)
    return ConversionSample(
        number=source.number,
        seconds=time.perf_counter() - started,
        source_voxels=preprocessed.source.num_voxels,
        bytes_per_voxel=size_bytes / preprocessed.voxels.size,
    )


def _warm_up() -> None:
    """Import what resampling needs, so that the samples do not include those seconds."""
    grid = Grid(shape=(2, 2, 2), affine=np.eye(4))
    resample_mask(np.ones(grid.shape, np.bool_), grid, grid)


def _format_of(source: Source) -> str:
    if source.series:
        return f"DICOM ({source.series})"
    return "".join(source.path.suffixes[-2:] if source.path.suffix == ".gz" else source.path.suffix)
