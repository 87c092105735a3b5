"""The model card: the README.md of an exported model, for readers who have only that folder.

After Mitchell 2019, "Model Cards for Model Reporting". Its facts are those of `model.json`, which
has more of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cyclegan.config.pinned_path import split_pin
from cyclegan.export.metadata import ModelInfo, TableInfo
from cyclegan.export.methods import methods_section, uses_pairs
from cyclegan.export.model_folder import PICTURE
from cyclegan.export.training_stats import TrainedOn
from cyclegan.export.usage_code import table_code, usage_code
from cyclegan.inference.cycle import GENERATOR
from mrct.version import DISTRIBUTION, __version__

NAMES = {"ct": "CT", "mri": "MRI"}
RESTRICTION = (
    "**For research only. Not a medical device: no diagnosis, no treatment, no dose may rest on "
    "it.**"
)
_CARD_SCORES = {
    "mae_hu": "MAE {:.0f} HU",
    "psnr_db": "PSNR {:.1f} dB",
    "bone_dice": "bone Dice {:.2f}",
}
"""The scores of a card; scores.json has all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CardPicture:
    """The picture of a card."""

    content: bytes
    """PNG."""
    titles: tuple[str, ...]
    """What it shows, from left to right."""
    is_phantom: bool


def model_card(info: ModelInfo, picture: CardPicture | None = None) -> str:
    """Return the model card as Markdown: the restriction to research use and a table first, then
    how to use and how to cite it."""
    source, target = NAMES[info.source], NAMES[info.target]
    unit = "HU" if info.target == "ct" else "grey levels of 4095"
    worst = max(info.parity.values(), default=None)
    rows = [
        ("makes", f"synthetic {target}s from axial {source} slices, whole slices only"),
        *guide_rows(info),
        *data_rows(info),
        ("training", f"{info.training}; {beginning(info.initial_weights)}"),
        ("grid", grid_row(info)),
        ("height", height_row(info)),
        *input_rows(info.trained_on),
        ("scores", scores_row(info.scores)),
        (
            "exported files",
            "not compared with the trained network"
            if worst is None
            else f"differ from the trained network by at most {worst:.2g} {unit}",
        ),
        *origin_rows(info),
    ]
    return f"""\
# {source} to synthetic {target}: {info.run}

{RESTRICTION}
{picture_of(picture)}
{table(rows)}

## Limits

- {"With few pairs" if uses_pairs(info) else "Trained without pairs"}: anatomy may be lost, invented
  or moved while the picture looks plausible, lesions and implants above all.
- It knows the scanners, sequences and anatomy of its training data. `translate` warns where an
  input's voxels, field of view or intensities are outside of these; a lesion, an implant or another
  organ it does not notice.
- Image scores do not settle whether a dose computed on the result is right.
- Faces stay recognisable in results.

## Use

    python -m cyclegan.translate THIS_FOLDER INPUT --out RESULTS

writes a synthetic {target} on the input's own grid. `sha256sum -c SHA256SUMS` verifies the files.

Without this project, in this folder, with numpy, scipy and onnxruntime, for a volume that is on the
model's grid already:

```python
{usage_code(info)}```

`generator.onnx` (opset {info.onnx_opset}) and `generator.pt2` (torch.export) take `image` [batch,
{len(info.inputs)}, rows, columns] and return `translated` [batch, 1, rows, columns], float32 in
[-1, 1]. Prefer `generator.safetensors` and `generator.onnx`: `torch.export.load` runs code that a
crafted `.pt2` file contains, and SHA256SUMS tells damage only.

{methods_part(info)}"""


def table_card(info: TableInfo, picture: CardPicture | None = None) -> str:
    """Return the model card as Markdown: the restriction to research use and a table first."""
    rows = [
        ("makes", "synthetic CTs from whole MRIs, by a table in place of a network"),
        *data_rows(info),
        ("grid", grid_row(info)),
        ("height", height_row(info)),
        *input_rows(info.trained_on),
        ("MRI values", "counted from the background, relative to the body's median"),
        ("table", f"SHA-256 `{info.contrast_table}`"),
        *origin_rows(info),
    ]
    return f"""\
# MRI to synthetic CT by a contrast table: {info.run}

{RESTRICTION}
{picture_of(picture)}
{table(rows)}

The HU of a voxel are those that training CTs have at its position and that look like its MRI value,
refit to the one MRI, with neighbours that go together (a Markov random field). What each HU looks
like was learned from MRIs and CTs without using a pair of one person.

## Limits

- It knows 24 bins of HU and the contrast of its training MRIs. What looks like something else at
  its position is taken for it: lesions, implants and sutures above all.
- Positions are by outline and height: a wrong outline, or a part of the body that the training
  volumes do not show, is misread.
- `translate` warns where an input's voxels, field of view or intensities are outside of those of
  its training data, and where the MRI is unlikely at its positions.
- Image scores do not settle whether a dose computed on the result is right.
- Faces stay recognisable in results.

## Use

    python -m cyclegan.translate THIS_FOLDER INPUT --out RESULTS

writes a synthetic CT on the input's own grid. `sha256sum -c SHA256SUMS` verifies the files.

Without this project, in this folder, with numpy and scipy, for a whole volume that is on the
table's grid already:

```python
{table_code(info)}```

{methods_part(info)}"""


def data_rows(info: ModelInfo | TableInfo) -> list[tuple[str, str]]:
    """Return the rows that say what the model has seen."""
    seen = info.seen
    if not seen.people:
        return [("has seen", "not recorded")]
    both = f", both of {seen.paired} of them" if seen.paired else ", unpaired"
    return [("has seen", f"{seen.who}: {seen.scans('mri')} and {seen.scans('ct')}{both}")]


def grid_row(info: ModelInfo | TableInfo) -> str:
    """Return the voxels and slices that the model works on."""
    z, y, x = info.preprocessing.spacing_mm
    rows, columns = info.preprocessing.size
    n4 = ", N4 bias correction" if info.preprocessing.bias_correction else ""
    return f"voxels of {x:g} x {y:g} x {z:g} mm (x, y, z), slices of {columns} x {rows}{n4}"


def input_rows(known: TrainedOn) -> list[tuple[str, str]]:
    """Return the rows that say which inputs are like the training data."""
    if not known.volumes:
        return [("expects", "not recorded")]
    spacing = zip(known.spacing_mm_low[::-1], known.spacing_mm_high[::-1], strict=True)
    extent = zip(known.extent_mm_low[::-1], known.extent_mm_high[::-1], strict=True)
    return [
        (
            "expects",
            f"{', '.join(known.planes)} slices, voxels of "
            f"{' x '.join(span(low, high, '.1f') for low, high in spacing)} mm, field of view "
            f"{' x '.join(span(low, high, '.0f') for low, high in extent)} mm (x, y, z)",
        )
    ]


def span(low: float, high: float, form: str) -> str:
    """Return a range, or the number if both ends are alike."""
    ends = list(dict.fromkeys((f"{low:{form}}", f"{high:{form}}")))
    return "-".join(ends)


def scores_row(scores: dict[str, Any] | None) -> str:
    """Return the main scores of a score file, with what they were measured on."""
    paired = (scores or {}).get("paired", {})
    means = paired.get(GENERATOR, {}) if isinstance(paired, dict) else {}
    found = [
        text.format(means[name]["mean"])
        for name, text in _CARD_SCORES.items()
        if isinstance(means.get(name), dict)
    ]
    if not scores:
        return "none were given; `python -m cyclegan.evaluate` measures them"
    if not found:
        return "of no pair of MRI and CT; `model.json` has those that need none"
    count = f", {scores['num_subjects']} subjects" if "num_subjects" in scores else ""
    return f"{', '.join(found)} ({scores.get('split', 'unknown')} split{count})"


def origin_rows(info: ModelInfo | TableInfo) -> list[tuple[str, str]]:
    """Return the rows about licence and origin."""
    what = f", {info.checkpoint}" if isinstance(info, ModelInfo) else ", contrast table"
    return [
        (
            "licence of the weights",
            info.licence or "none was given: ask who exported it before you use or pass it on",
        ),
        (
            "made",
            f"{info.exported_on or 'at an unknown date'} from run {info.run}{what}, by "
            f"{DISTRIBUTION} {__version__}",
        ),
    ]


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Return a Markdown table of two columns."""
    lines = (f"| {name} | {text.replace('|', chr(92) + '|')} |" for name, text in rows)
    return "\n".join(["| | |", "|---|---|", *lines])


def picture_of(picture: CardPicture | None) -> str:
    """Return the picture with its caption, or nothing."""
    if picture is None:
        return ""
    return (
        f"\n![One slice: {', '.join(picture.titles)}]({PICTURE})\n\n"
        f"One slice of a {'phantom' if picture.is_phantom else 'subject'} that was not trained "
        "on.\n"
    )


def methods_part(info: ModelInfo | TableInfo) -> str:
    """Return the section to be pasted into a paper, and where all facts are."""
    return f"""\
## Methods, for a paper

{methods_section(info)}

## All facts

`model.json` has every setting, range and hash, and `subjects.json` the pseudonyms of the subjects
of the train and val split.
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


def guide_rows(info: ModelInfo) -> Iterable[tuple[str, str]]:
    """Yield what the generator corrects, if it corrects something."""
    by = {"atlas": "position", "table": "position and MRI value"}
    if info.generator.guide != "none":
        yield (
            "corrects",
            f"the HU that its training CTs have by {by[info.generator.guide]}, as its contrast "
            "table tells; the look-up is a part of each file",
        )


def beginning(initial_weights: str) -> str:
    """Return what the training started from."""
    name, digest = split_pin(initial_weights)
    if not name:
        return "from random weights"
    return f"from the weights of `{name}` (SHA-256 `{digest[:16] or 'not recorded'}`)"
