"""The code in a model card that runs the model without this project.

It needs numpy, scipy and onnxruntime, and contains only what the model at hand needs.
"""

from cyclegan.export.formats import FILES
from cyclegan.export.height_code import height_code
from cyclegan.export.metadata import ModelInfo
from cyclegan.nets.input_channels import DEPTH_REACH_MM
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
