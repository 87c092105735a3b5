"""Claim: convert outruns a MONAI pipeline on the same files, and scales with cores.

MONAI: LoadImage, Orientation, Spacing, SaveImage as .nii.gz, its default, and as .nii, which takes
no time to pack and 3.5 to 4.6 times the disk of our store. Ours: `convert`, which also hashes,
decodes in a process apart, smooths before it coarsens, finds the body, and commits to the store.
Files are phantom heads of clinical size. Run it: python -m benchmarks.convert
"""

import argparse
import contextlib
import functools
import io
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from monai.transforms import Compose, LoadImage, Orientation, SaveImage, Spacing
from scipy.spatial.transform import Rotation

from data_prep.convert.convert import convert
from data_prep.convert.settings import ConvertSettings
from data_prep.phantom.anatomy import make_anatomy
from data_prep.phantom.person import Subject
from data_prep.phantom.scanner import CtScan, MriScan, acquire_ct, acquire_mri
from data_prep.readers.nifti import write_nifti
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Grid
from mrct.storage.local_path import LocalPath

SPACING_MM = (3.0, 1.0, 1.0)
SCANS: dict[Modality, tuple[tuple[int, int, int], tuple[float, float, float], tuple[int, ...]]] = {
    "mri": ((150, 256, 256), (1.2, 0.94, 0.94), (4, -2, 3)),
    "ct": ((150, 512, 512), (1.25, 0.49, 0.49), (0, 0, 0)),
}
"""Voxels and their size along (z, y, x), and degrees of tilt about (x, y, z)."""


def make_files(folder: Path, count: int) -> None:
    """`count` heads of each modality as int16 .nii.gz, LPS."""
    for number, modality in itertools.product(range(count), SCANS):
        random = np.random.default_rng(number)
        anatomy = make_anatomy(Subject.draw(random), spacing_mm=2.0)
        shape, spacing_mm, degrees = SCANS[modality]
        turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
        affine = np.eye(4)
        affine[:3, :3] = turn @ np.diag([-1, -1, 1]) * np.array(spacing_mm[::-1])
        affine[:3, 3] = [0, 2, 12] - affine[:3, :3] @ ((np.array(shape)[::-1] - 1) / 2)
        grid = Grid(shape=shape, affine=affine)
        if modality == "mri":
            voxels = acquire_mri(anatomy, grid, MriScan.draw(random), random)
        else:
            voxels = acquire_ct(anatomy, grid, CtScan(holder=True), random)
        path = folder / modality / f"{number}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_nifti(path, np.rint(voxels).astype(np.int16), affine)


def by_monai(files: Path, out: Path, suffix: str = ".nii.gz") -> None:
    """What a MONAI user writes to bring files to one orientation and spacing."""
    transform = Compose(
        [
            LoadImage(image_only=True, ensure_channel_first=True),
            Orientation(axcodes="LPS", labels=None),
            Spacing(pixdim=SPACING_MM[::-1], mode="bilinear"),
            SaveImage(output_dir=out, output_ext=suffix, print_log=False, separate_folder=False),
        ]
    )
    for path in sorted(files.iterdir()):
        transform(path)


def by_convert(files: Path, out: LocalPath, workers: int = 0) -> None:
    """Our command on one modality."""
    modality = files.name
    convert(
        ConvertSettings(
            out=out / "s.zarr", spacing_mm=SPACING_MM, workers=workers, **{modality: files}
        )
    )


OURS, MONAI, MONAI_PLAIN = "convert", "MONAI .nii.gz", "MONAI .nii"
SIDES: dict[str, Callable[[Path, Path], None]] = {
    OURS: by_convert,
    MONAI: by_monai,
    MONAI_PLAIN: functools.partial(by_monai, suffix=".nii"),
}


def cpu_s() -> float:
    """Seconds of processor time of this process and all below it, ended ones too."""
    me = psutil.Process()
    return sum(sum(process.cpu_times()[:4]) for process in [me, *me.children(recursive=True)])


def measure_s(run: Callable[[Path, Path], None], files: Path) -> tuple[float, float]:
    """Seconds of wall clock and of processor time for each volume."""
    count = len(list(files.iterdir()))
    with tempfile.TemporaryDirectory() as out, hide_progress():
        wall, cpu = time.perf_counter(), cpu_s()
        run(files, LocalPath(out))
        return (time.perf_counter() - wall) / count, (cpu_s() - cpu) / count


def volumes_per_minute(files: Path, workers: int) -> float:
    """Of convert under Ray, from the times of its commits: Ray's own start is left out."""
    with tempfile.TemporaryDirectory() as out, hide_progress():
        by_convert(files, LocalPath(out), workers)
        times = sorted(p.stat().st_mtime for p in Path(out).glob("s.zarr/commits/*.json"))
    # Every worker starts with a volume that also pays for its imports.
    return 60 * (len(times) - 2) / (times[-1] - times[1])


@contextlib.contextmanager
def hide_progress() -> Any:
    """Progress is no result."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def compare(folder: Path, rounds: int) -> dict[str, Any]:
    """Both sides in turns, so that a busy machine slows both; the first turn is for imports."""
    results: dict[str, Any] = {}
    for modality in SCANS:
        turns = [
            {side: measure_s(run, folder / modality) for side, run in SIDES.items()}
            for _ in range(rounds + 1)
        ][1:]
        for clock, index in (("wall", 0), ("cpu", 1)):
            seconds = {side: np.array([turn[side][index] for turn in turns]) for side in SIDES}
            rates = {side: float(60 / np.median(each)) for side, each in seconds.items()}
            result: dict[str, Any] = {"per_minute": rates, "ratio": {}}
            for side in (MONAI, MONAI_PLAIN):
                ratios = seconds[side] / seconds[OURS]
                figures = (np.median(ratios), ratios.min(), ratios.max())
                result["ratio"][side] = dict(
                    zip(("median", "lowest", "highest"), map(float, figures), strict=True)
                )
            results[f"{modality}_{clock}"] = result
    return results


def main() -> None:
    """Measure, print a table, and keep the numbers if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2, help="heads of each modality")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument(
        "--ray-files", type=int, default=24, help="MRI for 1 and 2 workers; 0: none"
    )
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder, options.files)
        results = compare(folder, options.rounds)
        if options.ray_files:
            many = folder / "many" / "mri"
            many.mkdir(parents=True)
            for number in range(options.ray_files):
                shutil.copy(
                    folder / "mri" / f"{number % options.files}.nii.gz", many / f"{number}.nii.gz"
                )
            one, two = volumes_per_minute(many, 1), volumes_per_minute(many, 2)
            results["ray_mri"] = {"workers_1": one, "workers_2": two, "growth": two / one}
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    results |= {"cores": cores, "load": load}
    print(f"volumes a minute on one core, by wall clock and by processor time; load {load:.1f}")
    print(f"{'':12}" + "".join(f"{side:>15}" for side in SIDES) + "   convert against both")
    for modality, clock in itertools.product(SCANS, ("wall", "cpu")):
        result = results[f"{modality}_{clock}"]
        rates = "".join(f"{rate:15.1f}" for rate in result["per_minute"].values())
        ratios = "   ".join(
            f"{r['median']:.2f} ({r['lowest']:.2f} to {r['highest']:.2f})"
            for r in result["ratio"].values()
        )
        print(f"{modality:5}{clock:7}{rates}   {ratios}")
    if "ray_mri" in results:
        r = results["ray_mri"]
        print(
            f"MRI under Ray: {r['workers_1']:.1f} with 1 worker, {r['workers_2']:.1f} with 2 "
            f"({r['growth']:.2f} times), {cores} cores"
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
