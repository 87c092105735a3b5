"""The metadata of a volume as OME-Zarr 0.5: its groups around the arrays."""

import json
from collections.abc import Sequence
from typing import Any

from data_prep.store.store import ATTRIBUTE
from data_prep.store.stored_volume import StoredVolume
from data_prep.store.zarr_codec import METADATA
from mrct.imaging.volume import spacing_of

_OME_VERSION = "0.5"
_OME_AXES = [{"name": axis, "type": "space", "unit": "millimeter"} for axis in "zyx"]


def ome_groups(
    stored: StoredVolume, facts: dict[str, Any], labels: Sequence[str]
) -> dict[str, bytes]:
    """Return the OME-Zarr 0.5 groups of an image and its labels, with the affine beside them."""
    scale = {"type": "scale", "scale": list(spacing_of(stored.affine))}
    dataset = {"path": "0", "coordinateTransformations": [scale]}
    image = {
        "version": _OME_VERSION,
        "multiscales": [{"name": stored.modality, "axes": _OME_AXES, "datasets": [dataset]}],
    }
    colour = {"label-value": 1, "rgba": [255, 127, 14, 128]}
    label = image | {"image-label": {"colors": [colour], "source": {"image": "../../"}}}
    return {
        METADATA: zarr_group({"ome": image, ATTRIBUTE: facts}),
        f"labels/{METADATA}": zarr_group({"ome": {"version": _OME_VERSION, "labels": labels}}),
        **{f"labels/{name}/{METADATA}": zarr_group({"ome": label}) for name in labels},
    }


def zarr_group(attributes: dict[str, Any]) -> bytes:
    """Return the `zarr.json` of a Zarr v3 group."""
    group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    return json.dumps(group, indent=1).encode()
