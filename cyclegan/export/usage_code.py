"""The code in a model card that runs the model without this project.

For a network it needs numpy, scipy and onnxruntime, and contains only what the model at hand needs;
for a contrast table numpy and scipy: `cyclegan.contrast` has the same steps with their sources and
reasons.
"""

from cyclegan.contrast.random_field import FIELD_STEPS, FIELD_STRENGTH
from cyclegan.contrast.table import NEVER, RARE, REFIT_PRIOR, REFIT_SMOOTHING, REFIT_STEPS
from cyclegan.contrast.table_file import TABLE_FILE
from cyclegan.export.formats import FILES
from cyclegan.export.metadata import INFO, ModelInfo, TableInfo
from cyclegan.nets.guide import NUM_MRI_BINS, POSITION_BINS
from cyclegan.nets.input_channels import DEPTH_REACH_MM
from data_prep.preprocess.height_axis import LEAST_OVERLAP
from mrct.imaging.geometry import SLICE_STEPS
from mrct.imaging.hounsfield import AIR_HU
from mrct.imaging.intensity import INVERTED_AIR, MEDIAN_LEVEL


def usage_code(info: ModelInfo) -> str:
    """Return Python code that reads `volume.npy` and `body.npy` and writes `synthetic.npy`, in the
    model's folder."""
    parts = [_arrays(info), _to_network(info), _through_network(info), _to_values(info)]
    return "\n\n".join(parts) + "\n"


def _arrays(info: ModelInfo) -> str:
    z, y, x = info.preprocessing.spacing_mm
    what = "MRI, 0 in air" if info.source == "mri" else "CT in HU"
    json = "import json\n\n" if info.conditions and info.height_axis.sizes_mm else ""
    scipy = "\nfrom scipy import ndimage" if info.conditions else ""
    return f"""\
{json}import numpy as np
import onnxruntime{scipy}

# {what}, [z, y, x], voxels of {z:g} x {y:g} x {x:g} mm:
# {info.orientation}; rows and columns multiples of {info.size_multiple}.
volume = np.load("volume.npy").astype(np.float32)
# Of the same shape, True within the body's outline, cavities included.
body = np.load("body.npy").astype(bool)"""


def _to_network(info: ModelInfo) -> str:
    low, high = info.intensity.window_hu
    window = f"low, high = {low}, {high}"
    if info.source == "mri":
        window = "low, median = np.percentile(volume[body], [0.5, 50])\nlow = min(0, low)"
        window += f"\nhigh = low + (median - low) / {MEDIAN_LEVEL}"
    code = f"{window}\nx = np.clip(2 * (volume - low) / (high - low) - 1, -1, 1)"
    if info.source == "mri" and info.intensity.mri_contrast == "inverted":
        centre, slope = info.intensity.inverted_centre, info.intensity.inverted_slope
        code += f"\nx = np.where(body, {centre} - {slope} * x, -1)"
    return code


def _through_network(info: ModelInfo) -> str:
    before, conditions, file, k = "", "", FILES["onnx"], info.neighbours
    channels = (
        f"[x[np.clip(z + k, 0, len(x) - 1)] for k in range({-k}, {k + 1})]" if k else "[x[z]]"
    )
    if info.conditions:
        pixel = info.preprocessing.spacing_mm[1:]
        before = f"""\
{height_code(info)}
# Depth in mm below the body's surface, up to `reach`.
pixel, reach = {pixel}, {DEPTH_REACH_MM}

"""
        conditions = """
    depth = reach if body[z].all() else ndimage.distance_transform_edt(body[z], pixel)
    depth = np.broadcast_to(2 * np.minimum(depth, reach) / reach - 1, x[z].shape)
    channels = [depth, *channels, np.full(x[z].shape, 2 * height[z] - 1)]"""
    return f"""\
{before}network = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])
synthetic = np.empty(x.shape, np.float32)
for z in range(len(x)):
    channels = {channels}{conditions}
    image = np.stack(channels)[np.newaxis].astype(np.float32)
    (synthetic[z],) = network.run(["translated"], {{"image": image}})[0][0]"""


def _to_values(info: ModelInfo) -> str:
    save = 'np.save("synthetic.npy", np.rint(values).astype(np.int16))'
    if info.target == "ct":
        low, high = info.intensity.window_hu
        return f"""\
values = {low} + (synthetic + 1) / 2 * {high - low}  # HU
values = np.where(body, values, {AIR_HU})
{save}"""
    low, high = info.intensity.mri_output_window
    restored = ""
    if info.intensity.mri_contrast == "inverted":
        centre, slope = info.intensity.inverted_centre, info.intensity.inverted_slope
        restored = f"""\
restored = np.clip(({centre} - synthetic) / {slope}, -1, 1)
synthetic = np.where(body & (synthetic > {INVERTED_AIR}), restored, -1)
"""
    return f"""\
{restored}values = {low} + (synthetic + 1) / 2 * {high - low}  # arbitrary units
{save}"""


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


def height_code(info: ModelInfo | TableInfo) -> str:
    """Return Python code that makes `height`, [z], of `body`; it needs numpy and json."""
    on_axis = _ON_AXIS.format(
        model=INFO,
        spacing=tuple(info.preprocessing.spacing_mm),
        overlap=LEAST_OVERLAP,
    )
    return f"""\
# Height of each slice in the body, 0 to 1.
# What slices of the training's size hold decides, as it did there.
margins = [max(0, (n - most) // 2) for n, most in zip(body.shape[1:], {info.preprocessing.size})]
(top, left), (rows, columns) = margins, body.shape[1:]
inside = body[:, top : rows - top, left : columns - left]
lowest, highest = np.flatnonzero(inside.any(axis=(1, 2)))[[0, -1]]
{on_axis if info.height_axis.sizes_mm else ""}\
height = np.clip((np.arange(len(body)) - lowest) / max(1, highest - lowest), 0, 1)
height = np.rint(height * {SLICE_STEPS}) / {SLICE_STEPS}
"""


_ON_AXIS = """\
# Its outline is laid on that of the training volumes, at each mm, where it fits best.
with open("{model}") as file:
    axis = json.load(file)["height_axis"]
dz, dy, dx = {spacing}
rows, columns = inside.any(2).sum(1) * dy, inside.any(1).sum(1) * dx
sizes = np.sqrt(inside.sum((1, 2)) * (dy * dx)), rows, columns
known_at = np.arange(len(body)) * dz
every_mm = np.arange(int(known_at[-1]) + 1)
own = np.stack([np.interp(every_mm, known_at, np.round(each, 3)) for each in sizes], axis=1)
theirs, held, misfits = np.array(axis["sizes_mm"]), own[:, 0] > 0, {{}}
for offset in range(-len(own), len(theirs)):
    at = every_mm + offset
    known = (at >= 0) & (at < len(theirs))
    if (known & held).sum() >= max(1, {overlap} * held.sum()):
        misfits[offset] = np.mean(np.abs(theirs[at[known]] - own[known]))
if misfits:
    ends = np.array([axis["low_mm"], axis["high_mm"]]) - min(misfits, key=misfits.get)
    lowest, highest = (ends / dz).astype(np.float32).tolist()
"""
