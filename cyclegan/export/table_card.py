"""The model card of a contrast table; that of a network is in `model_card.py`."""

from cyclegan.export.metadata import TableInfo
from cyclegan.export.model_card import height_row, training_table
from cyclegan.export.table_code import table_code


def table_card(info: TableInfo) -> str:
    """Return the model card as Markdown: the restriction to research use first."""
    z, y, x = info.preprocessing.spacing_mm
    rows, columns = info.preprocessing.size
    return f"""\
# MRI to synthetic CT by a contrast table: {info.run}

**For research only. Not a medical device: no diagnosis, no treatment, no dose may rest on it.**

No network: the HU of a voxel are those that training CTs have at its position and that look like
its MRI value, refit to the one MRI, with neighbours that go together (a Markov random field). What
each HU looks like was learned from MRIs and CTs of different people, without a pair.

## Use

    python -m cyclegan.translate THIS_FOLDER INPUT --out RESULTS

writes a synthetic CT on the input's own grid. `sha256sum -c SHA256SUMS` verifies the files.

Without this project, in this folder, with numpy and scipy, for a whole volume that is on the
table's grid already:

```python
{table_code(info)}```

## Input

| | |
|---|---|
| orientation | {info.orientation} |
| spacing (z, y, x) | {z:g} x {y:g} x {x:g} mm |
| slices in training | {rows} x {columns} |
| interpolation | {info.preprocessing.interpolation} |
| MRI bias correction (N4) | {"yes" if info.preprocessing.bias_correction else "no"} |
| height | {height_row(info)} |
| MRI values | counted from the background, standardised by the body's median |

## Data

{training_table(info.trained_on)}

Unpaired MRI and CT volumes, preprocessing `{info.store_fingerprint}`, volumes
`{info.store_contents}`; table `{info.contrast_table}` of run `{info.run}`. `subjects.json` lists
the subjects of its train and val split by pseudonym.

## Limits

- It knows 24 bins of HU and the contrast of its training MRIs. What looks like something else at
  its position is taken for it: lesions, implants and sutures above all.
- Positions are by outline and height: a wrong outline, or a part of the body that the training
  volumes do not show, is misread.
- `translate` warns where an input's voxels, field of view or intensities are outside what is
  listed above, and where the MRI is unlikely at its positions.
- Image scores do not settle whether a dose computed on the result is right.
- Faces stay recognisable in results.
"""
