"""A contrast table as one file, sealed by its own SHA-256: arrays and facts, no pickle."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from cyclegan.atlas.positions import NUM_POSITIONS
from cyclegan.contrast.table import ARRAYS, ContrastTable
from cyclegan.contrast.value_bins import NUM_HU_BINS
from cyclegan.errors import TableError
from cyclegan.nets.guide import NUM_MRI_BINS, POSITION_BINS
from cyclegan.nets.input_channels import PixelSize
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.storage.json_text import parse_json
from mrct.storage.paths import StoragePath
from mrct.storage.safetensors_header import header_of

TABLE_FILE = "contrast_table.safetensors"
TABLE_VERSION = 2
"""Of the file and of what its positions and bins mean."""
_SHAPES = {
    "prior": (NUM_POSITIONS, NUM_HU_BINS),
    "likelihood": (NUM_HU_BINS, NUM_MRI_BINS),
    "bin_hu": (NUM_HU_BINS,),
    "affinities": (3, NUM_HU_BINS, NUM_HU_BINS),
    "histogram": (NUM_MRI_BINS,),
}
MAX_SUM_ERROR = 1e-3
MAX_AFFINITY = 50.0
"""The log of a ratio of counts of voxels is far below."""
MIN_PIXEL_MM, MAX_PIXEL_MM = 0.01, 100.0
SHAPE_OF_TABLE = {"positions": list(POSITION_BINS), "hu": NUM_HU_BINS, "mri": NUM_MRI_BINS}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KeptTable:
    """A table that was read from a file."""

    table: ContrastTable
    sha256: str
    """What a run, its checkpoints and models know it by: the hash of arrays and facts."""
    store_fingerprint: str
    """Hash of the preprocessing of the volumes that it was fitted to."""
    store_contents: str
    """Hash of these volumes and their splits."""


def table_bytes(table: ContrastTable, *, store_fingerprint: str, store_contents: str) -> bytes:
    """Return the file of a table; the hashes are those of `KeptTable`."""
    arrays = {name: np.ascontiguousarray(getattr(table, name)) for name in ARRAYS}
    facts = {
        "version": TABLE_VERSION,
        "shape": SHAPE_OF_TABLE,
        "spacing_yx_mm": table.spacing_yx_mm,
        "findings": table.findings,
        "store_fingerprint": store_fingerprint,
        "store_contents": store_contents,
    }
    text = json.dumps(facts, sort_keys=True)
    return safetensors.numpy.save(arrays, {"facts": text, "sha256": _digest(text, arrays)})


def read_table(path: StoragePath) -> KeptTable | None:
    """Read the file of a table; None if there is none.

    Raises:
        TableError: It is damaged, or of another version.
    """
    return parse_table(path.read_bytes(), path) if path.exists() else None


def parse_table(content: bytes, path: object) -> KeptTable:
    """Return the table in the content of a file; `path` stands in messages.

    Raises:
        TableError: It is damaged, or of another version.
    """
    try:
        arrays = safetensors.numpy.load(content)
        header: dict[str, str] = header_of(content)["__metadata__"]
        text, sealed = header["facts"], header["sha256"]
        facts: dict[str, Any] = parse_json(text)
        made = (facts["version"], facts["shape"])
        findings = {str(name): float(value) for name, value in dict(facts["findings"]).items()}
        rows_mm, columns_mm = map(float, facts["spacing_yx_mm"])
        hashes = str(facts["store_fingerprint"]), str(facts["store_contents"])
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise TableError(f"The contrast table {path} is damaged ({error}). {_AGAIN}") from error
    if _digest(text, arrays) != sealed or arrays.keys() != {*ARRAYS}:
        raise TableError(f"The contrast table {path} was changed after it was written. {_AGAIN}")
    if made != (TABLE_VERSION, SHAPE_OF_TABLE):
        raise TableError(
            f"The contrast table {path} is of another version of this project, whose positions "
            f"and bins differ. {_AGAIN}"
        )
    for name, shape in _SHAPES.items():
        array = arrays[name]
        if array.shape != shape or array.dtype.kind != "f" or not np.isfinite(array).all():
            raise TableError(
                f"The contrast table {path} is damaged (its {name} is not {shape} finite numbers). "
                f"{_AGAIN}"
            )
    if finding := _impossible(arrays, findings, (rows_mm, columns_mm)):
        raise TableError(f"The contrast table {path} is damaged ({finding}). {_AGAIN}")
    return KeptTable(
        table=ContrastTable(**arrays, spacing_yx_mm=(rows_mm, columns_mm), findings=findings),
        sha256=sealed,
        store_fingerprint=hashes[0],
        store_contents=hashes[1],
    )


def _impossible(
    arrays: dict[str, NDArray[Any]], findings: dict[str, float], spacing_yx_mm: PixelSize
) -> str:
    """Return what no fit leads to; "" if there is nothing."""
    for name in ("prior", "likelihood"):
        sums = arrays[name].sum(axis=1)
        if (arrays[name] < 0).any() or (np.abs(sums - 1) > MAX_SUM_ERROR).any():
            return f"the rows of its {name} are no shares that add up to 1"
    if (arrays["histogram"] < 0).any() or not arrays["histogram"].any():
        return "its histogram counts no voxels"
    if (np.abs(arrays["affinities"]) > MAX_AFFINITY).any():
        return "its affinities are beyond what counts of voxels can give"
    low, high = WINDOW_HU
    if ((arrays["bin_hu"] < low) | (arrays["bin_hu"] > high)).any():
        return f"its HU are outside {low:g} to {high:g}"
    gains = {"bell_gain_nats", "free_gain_nats"} & findings.keys()
    if (
        not np.isfinite([*findings.values()]).all()
        or "bell_width" not in findings
        or len(gains) == 1
    ):
        return "its findings are not those of a fit"
    if not all(MIN_PIXEL_MM <= mm <= MAX_PIXEL_MM for mm in spacing_yx_mm):
        return f"its pixels are {spacing_yx_mm[0]:g} x {spacing_yx_mm[1]:g} mm"
    return ""


_AGAIN = "Fit it again: python -m cyclegan.contrast RUN --overwrite"


def _digest(facts: str, arrays: dict[str, NDArray[Any]]) -> str:
    found = hashlib.sha256(facts.encode())
    for name in sorted(arrays):
        array = arrays[name]
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()
