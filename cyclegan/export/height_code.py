"""The lines of the code in a model card that find the height of each slice.

`data_prep.preprocess.height_axis` has the same steps with their reasons.
"""

from cyclegan.export.metadata import INFO, ModelInfo, TableInfo
from data_prep.preprocess.height_axis import LEAST_OVERLAP, MOST_OFFSET_MM
from mrct.imaging.geometry import SLICE_STEPS


def height_code(info: ModelInfo | TableInfo) -> str:
    """Return Python code that makes `height`, [z], of `body`; it needs numpy and json."""
    on_axis = _ON_AXIS.format(
        model=INFO,
        spacing=tuple(info.preprocessing.spacing_mm),
        most=MOST_OFFSET_MM,
        overlap=LEAST_OVERLAP,
    )
    return f"""\
# Height of each slice in the body, 0 to 1.
lowest, highest = np.flatnonzero(body.any(axis=(1, 2)))[[0, -1]]
{on_axis if info.height_axis.sizes_mm else ""}\
height = np.clip((np.arange(len(body)) - lowest) / max(1, highest - lowest), 0, 1)
height = np.rint(height * {SLICE_STEPS}) / {SLICE_STEPS}
"""


_ON_AXIS = """\
# Its outline is laid on that of the training volumes, at each mm, where it fits best.
with open("{model}") as file:
    axis = json.load(file)["height_axis"]
dz, dy, dx = {spacing}
sizes = np.sqrt(body.sum((1, 2)) * (dy * dx)), body.any(2).sum(1) * dy, body.any(1).sum(1) * dx
known_at = np.arange(len(body)) * dz
every_mm = np.arange(int(known_at[-1]) + 1)
own = np.stack([np.interp(every_mm, known_at, np.round(each, 3)) for each in sizes], axis=1)
theirs, held, misfits = np.array(axis["sizes_mm"]), own[:, 0] > 0, {{}}
middle = (len(theirs) - len(own)) // 2
for offset in range(middle - {most}, middle + {most} + 1):
    at = every_mm + offset
    known = (at >= 0) & (at < len(theirs))
    if (known & held).sum() >= max(1, {overlap} * held.sum()):
        misfits[offset] = np.mean(np.abs(theirs[at[known]] - own[known]))
if misfits:
    ends = np.array([axis["low_mm"], axis["high_mm"]]) - min(misfits, key=misfits.get)
    lowest, highest = (ends / dz).astype(np.float32).tolist()
"""
