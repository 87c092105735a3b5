"""The code in the model card of a contrast table, which runs it without this project.

It needs numpy and scipy. `cyclegan.contrast` has the same steps with their sources and reasons.
"""

from cyclegan.atlas.positions import POSITION_BINS
from cyclegan.contrast.random_field import FIELD_STEPS, FIELD_STRENGTH
from cyclegan.contrast.table import NEVER, RARE, REFIT_PRIOR, REFIT_SMOOTHING, REFIT_STEPS
from cyclegan.contrast.table_file import TABLE_FILE
from cyclegan.contrast.value_bins import NUM_MRI_BINS
from cyclegan.export.height_code import height_code
from cyclegan.export.metadata import TableInfo
from cyclegan.nets.input_channels import DEPTH_REACH_MM
from mrct.imaging.hounsfield import AIR_HU
from mrct.imaging.intensity import MEDIAN_LEVEL


def table_code(info: TableInfo) -> str:
    """Return Python code that reads `volume.npy` and `body.npy` and writes `synthetic.npy`, in the
    folder of the table."""
    spec = info.preprocessing
    z, y, x = spec.spacing_mm
    depths, heights, angles = POSITION_BINS
    return f"""\
import json

import numpy as np
from scipy import ndimage

# MRI, 0 in air, [z, y, x], voxels of {z:g} x {y:g} x {x:g} mm: {info.orientation}.
volume = np.load("volume.npy").astype(np.float32)
# Of the same shape, True within the body's outline, cavities included.
body = np.load("body.npy").astype(bool)

with open("{TABLE_FILE}", "rb") as file:
    content = file.read()
start = 8 + int.from_bytes(content[:8], "little")
arrays = {{}}
for name, facts in json.loads(content[8:start]).items():
    if name != "__metadata__":
        low, high = (start + offset for offset in facts["data_offsets"])
        kind = {{"F32": np.float32, "F64": np.float64}}[facts["dtype"]]
        arrays[name] = np.frombuffer(content[low:high], kind).reshape(facts["shape"])

{height_code(info)}
# The position of each voxel: depth below the outline, height, and direction from front to back.
pixel, reach = {spec.spacing_mm[1:]}, {DEPTH_REACH_MM}
depth = np.zeros(body.shape)
for slice_depth, inside in zip(depth, body):
    slice_depth[:] = reach if inside.all() else ndimage.distance_transform_edt(inside, pixel)
depth = np.minimum(depth[body], reach).astype(np.float32)
first, last = np.sqrt(min(*pixel, reach / 2)), np.sqrt(reach)
depth = np.rint((np.sqrt(depth) - first) / (last - first) * {depths - 1}).astype(int)
z, y, x = np.nonzero(body)
num_voxels = np.maximum(np.bincount(z, minlength=len(body)), 1)
middle_y, middle_x = (np.bincount(z, at, minlength=len(body)) / num_voxels for at in (y, x))
angle = np.arctan2(np.abs(x - middle_x[z]), middle_y[z] - y) / np.pi
angle = np.clip((angle * {angles}).astype(int), 0, {angles - 1})
level = np.clip((height * {heights}).astype(int), 0, {heights - 1})[z]
position = np.ravel_multi_index((depth, level, angle), {POSITION_BINS})

# Values relative to the body's median.
values = volume[body] * ({MEDIAN_LEVEL} / np.median(volume[body]))
values = np.rint(np.sqrt(np.clip(values, 0, 1)) * {NUM_MRI_BINS - 1}).astype(int)


def posterior(likelihood):
    found = here * likelihood.T.astype(np.float32)[values]
    return found / found.sum(axis=1, keepdims=True)


# Refit what each HU looks like to this MRI, then Bayes' rule.
here = arrays["prior"][position] + np.float32({NEVER})
likelihood = arrays["likelihood"]
for _ in range({REFIT_STEPS}):
    counts = np.stack([np.bincount(values, p, {NUM_MRI_BINS}) for p in posterior(likelihood).T])
    counts = ndimage.gaussian_filter(counts, {REFIT_SMOOTHING}, mode="nearest")
    share = counts.sum(axis=1, keepdims=True) / counts.sum() + {RARE}
    likelihood = counts + {REFIT_PRIOR} * len(values) * share * arrays["likelihood"]
    likelihood /= likelihood.sum(axis=1, keepdims=True)
alone = posterior(likelihood)

# Neighbours along z, y and x: a random field by its mean-field approximation.
index = np.full([length + 2 for length in body.shape], len(values))
index[1:-1, 1:-1, 1:-1][body] = np.arange(len(values))
inside = np.argwhere(body) + 1
steps = np.eye(3, dtype=int)
sides = [[index[tuple((inside + side * step).T)] for side in (-1, 1)] for step in steps]
weights = ({FIELD_STRENGTH} * arrays["affinities"]).astype(np.float32)
current = np.concatenate([alone, np.zeros_like(alone[:1])])
for number in range({FIELD_STEPS}):
    weighed = np.log(alone + 1e-9)
    for (before, after), weight in zip(sides, weights):
        weighed += (current[before] + current[after]) @ weight
    weighed = np.exp(weighed - weighed.max(axis=1, keepdims=True))
    weighed /= weighed.sum(axis=1, keepdims=True)
    current[:-1] = weighed if number == {FIELD_STEPS - 1} else (current[:-1] + weighed) / 2

synthetic = np.full(body.shape, {AIR_HU}, np.float32)
synthetic[body] = current[:-1] @ arrays["bin_hu"]
np.save("synthetic.npy", np.rint(synthetic).astype(np.int16))
"""
