"""What commands wrote, as named arrays, read by the files' formats alone and with none of our code.

A name is `group/rest`; versions may differ in names, and `differences` copes with that.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import onnxruntime
import torch
import zarr
from numpy.typing import NDArray
from safetensors.numpy import load_file

Arrays = dict[str, NDArray[Any]]
IMAGE_SIZE = (64, 64)
"""Rows and columns of the images that models are run on."""


def scans_in(folder: Path) -> Arrays:
    """Voxels and affine of every NIfTI file."""
    arrays: Arrays = {}
    for path in sorted(folder.rglob("*.nii.gz")):
        scan, name = nibabel.load(path), path.relative_to(folder)
        arrays[f"voxels/{name}"] = np.asarray(scan.dataobj)
        arrays[f"affines/{name}"] = np.asarray(scan.affine)
    return arrays


def volumes_in(store: Path) -> Arrays:
    """Every array of a Zarr store, and the numbers (affine, spacing, window) of its groups.

    The root's own attributes are left out: they hold the version of the format.
    """
    arrays: Arrays = {}
    for path in sorted(store.glob("*/**/zarr.json")):
        name, node = path.parent.relative_to(store), json.loads(path.read_text())
        if node["node_type"] == "array":
            group = "body masks" if "labels" in name.parts else "images"
            arrays[f"{group}/{name}"] = np.asarray(zarr.open_array(path.parent, mode="r")[:])
        else:
            arrays |= dict(numbers_in(node["attributes"], f"geometry/{name}"))
    return arrays


def checkpoint_in(run: Path) -> Arrays:
    """Every tensor of a run's last checkpoint."""
    last = max({path.parent for path in run.rglob("*.safetensors")}, key=lambda path: path.name)
    return {
        f"{path.stem}/{name}": array
        for path in sorted(last.glob("*.safetensors"))
        for name, array in load_file(path).items()
    }


def outputs_of(model: Path) -> Arrays:
    """What exported networks make of the same random images, in onnxruntime and in torch."""
    torch.set_num_threads(1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    outputs: Arrays = {}
    for path in sorted(model.rglob("*.onnx")):
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        shape = (2, given.shape[1], *IMAGE_SIZE)
        images = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
        (outputs[f"onnx/{path.relative_to(model)}"],) = session.run(None, {given.name: images})
        program = path.with_suffix(".pt2")
        with torch.no_grad():
            made = torch.export.load(program).module()(torch.from_numpy(images))
        outputs[f"torch.export/{program.relative_to(model)}"] = made.numpy()
    return outputs


def scores_in(folder: Path) -> Arrays:
    """Every number of an evaluation's `scores.json`."""
    scores = json.loads((folder / "scores.json").read_text())
    return {
        name if "/" in name else f"counts/{name}": array for name, array in numbers_in(scores, "")
    }


def numbers_in(value: Any, name: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """All numbers of a JSON document, lists of them as one array; versions of formats left out."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key not in ("schema", "version"):
                yield from numbers_in(each, f"{name}/{key}".removeprefix("/"))
    elif isinstance(value, list) and not _is_numeric(value):
        for index, each in enumerate(value):
            yield from numbers_in(each, f"{name}/{index}")
    elif _is_numeric(value):
        yield name, np.array(value, np.float64)


def _is_numeric(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_numeric, value)) and _is_regular(value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_regular(values: list[Any]) -> bool:
    return len({len(each) if isinstance(each, list) else -1 for each in values}) == 1
