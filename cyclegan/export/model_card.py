"""The model card: the README.md of an exported model, for readers who have only that folder.

After Mitchell 2019, "Model Cards for Model Reporting". Its facts are those of `model.json`.
"""

from collections.abc import Iterator
from typing import Any

from cyclegan.config.pinned_path import split_pin
from cyclegan.export.metadata import ModelInfo, TableInfo
from cyclegan.export.training_stats import TrainedOn
from cyclegan.export.usage_code import usage_code

NAMES = {"ct": "CT", "mri": "MRI"}


def model_card(info: ModelInfo) -> str:
    """Return the model card as Markdown: the restriction to research use first, then the facts,
    always with the scores or a note that there are none."""
    source, target = NAMES[info.source], NAMES[info.target]
    z, y, x = info.preprocessing.spacing_mm
    rows, columns = info.preprocessing.size
    low, high = info.intensity.window_hu
    return f"""\
# {source} to synthetic {target}: {info.run}

**For research only. Not a medical device: no diagnosis, no treatment, no dose may rest on it.**

A CycleGAN generator ({info.generator.blocks} residual blocks, {info.generator.filters} filters,
{info.generator.upsample} upsampling) that turns axial {source} slices into synthetic {target}.

## Use

    python -m cyclegan.translate THIS_FOLDER INPUT --out RESULTS

writes a synthetic {target} on the input's own grid. `sha256sum -c SHA256SUMS` verifies the files.

Without this project, in this folder, with numpy, scipy and onnxruntime, for a volume that is on the
model's grid already:

```python
{usage_code(info)}```

`generator.onnx` (opset {info.onnx_opset}) and `generator.pt2` (torch.export) take `image` [batch,
{len(info.inputs)}, rows, columns] and return `translated` [batch, 1, rows, columns], float32 in
[-1, 1]. `generator.pt2` runs on any device and, cast, in fp16 and bf16. Use whole slices only: the
brightness of tiles would differ.

Prefer `generator.safetensors` and `generator.onnx`. `torch.export.load` runs code that a crafted
`.pt2` file contains, and SHA256SUMS tells damage only: open that of people whom you trust.

## Input

| | |
|---|---|
| channels | {", ".join(info.inputs)} |
| orientation | {info.orientation} |
| spacing (z, y, x) | {z:g} x {y:g} x {x:g} mm |
| slices in training | {rows} x {columns} |
| interpolation | {info.preprocessing.interpolation} |
| MRI bias correction (N4) | {"yes" if info.preprocessing.bias_correction else "no"} |
| height | {height_row(info)} |
| CT values | {low:g} to {high:g} HU are -1 to 1 |
| MRI values | {info.intensity.mri_window}, are -1 to 1 |
| MRI contrast | {info.intensity.mri_contrast} |

## Data and training

{training_table(info.trained_on)}

Unpaired MRI and CT volumes, preprocessing `{info.store_fingerprint}`. Run `{info.run}`, checkpoint
`{info.checkpoint}`, settings `{info.config_hash[:16]}`. {beginning(info.initial_weights)}
`subjects.json` lists the subjects of its train and val split by pseudonym.

## Scores

{scores_table(info.scores)}

## Exported files against the trained network

Largest difference of any voxel on real slices of the store, fp32,
in {"HU" if info.target == "ct" else "grey levels of 4095"}:

| file | difference |
|---|---|
{table_rows(info.parity)}

## Limits

- Trained without pairs: anatomy may be lost, invented or moved while the picture looks plausible,
  lesions and implants above all.
- It knows the scanners, sequences and anatomy of its training data. `translate` warns where an
  input's voxels, field of view or intensities are outside what is listed above; a lesion, an
  implant or another organ it does not notice.
- Image scores do not settle whether a dose computed on the result is right.
- Faces stay recognisable in results.
"""


def height_row(info: ModelInfo | TableInfo) -> str:
    """Return what the height of a slice is."""
    axis = info.height_axis
    if not axis.sizes_mm:
        return "0 at the lowest, 1 at the highest slice with body of each volume"
    return (
        f"0 to 1 on an axis of {axis.high_mm - axis.low_mm:.0f} mm, on which {axis.volumes} "
        "training volumes were aligned by their outlines"
    )


def beginning(initial_weights: str) -> str:
    """Return the sentence that states what the training started from."""
    name, digest = split_pin(initial_weights)
    if not name:
        return "It started from random weights."
    return f"It started from the weights of `{name}` (SHA-256 `{digest or 'not recorded'}`)."


def training_table(known: TrainedOn) -> str:
    """Return a table of the ranges over the volumes of the train split, before resampling."""
    if not known.volumes:
        return "The volumes that the model was trained on were not recorded."
    spacing = zip(known.spacing_mm_low, known.spacing_mm_high, strict=True)
    extent = zip(known.extent_mm_low, known.extent_mm_high, strict=True)
    values = zip(known.shares, known.values_low, known.values_high, strict=True)
    return f"""\
| train split | {known.volumes} volumes, {", ".join(known.planes)} |
|---|---|
| their voxels (z, y, x) | {" x ".join(f"{low:.2f}-{high:.2f}" for low, high in spacing)} mm |
| field of view (z, y, x) | {" x ".join(f"{low:.0f}-{high:.0f}" for low, high in extent)} mm |
| values in the body, percentiles | {
        ", ".join(f"{share}: {low:.2f} to {high:.2f}" for share, low, high in values)
    } of [-1, 1] |"""


def scores_table(scores: dict[str, Any] | None) -> str:
    """Return a table of all single numbers of a score file by their dotted names."""
    numbers = dict(flat_numbers(scores or {}))
    if not numbers:
        return "No scores were given at export. `python -m cyclegan.evaluate` measures them."
    return f"| score | value |\n|---|---|\n{table_rows(numbers)}"


def table_rows(numbers: dict[str, float]) -> str:
    """Return the rows of a two-column Markdown table."""
    return "\n".join(f"| {name} | {value:.4g} |" for name, value in numbers.items())


def flat_numbers(scores: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers in nested mappings; lists, such as the scores of each volume, are left
    out."""
    for name, value in scores.items():
        if isinstance(value, dict):
            yield from flat_numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", value
