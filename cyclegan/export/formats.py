"""Write a generator as files that run without the training code, and open those files again.

The only module that imports onnx, onnxruntime and torch.export. Axes: B batch, C input channels, H
rows, W columns, multiples of 4.
"""

import io
import logging
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal, cast

import onnx
import onnxruntime
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from cyclegan.config.config import GeneratorConfig
from cyclegan.errors import ModelError
from cyclegan.inference.slices import Network
from cyclegan.nets.guided_generator import generator_of
from cyclegan.nets.stored_weights import network_of
from mrct.storage.json_text import parse_json

Format = Literal["safetensors", "onnx", "pt2"]
FILES: dict[Format, str] = {
    "safetensors": "generator.safetensors",
    "onnx": "generator.onnx",
    "pt2": "generator.pt2",
}
OPSET = 18
"""Version of ONNX's standard operators: the oldest that the exporter supports, so that most
runtimes can read the file (onnxruntime 1.14 and later)."""
_PT2_PARTS = (
    r"data/(weights|constants)/[a-z0-9_]+(\.json)?|data/sample_inputs/model\.pt|models/model\.json|"
    r"archive_(format|version)|byteorder|\.data/(version|serialization_id)"
)
MULTIPLE = 4
"""In-plane sizes must be multiples of this, since the generator halves them twice."""


def write_formats(network: nn.Module, channels: int, folder: Path) -> None:
    """Write `network` (on the CPU) in every format, without syncing the files to disk.

    Each file is made in memory: where a disk is full, a library's own writer ends the process
    (torch's) or raises an error that is not the system's (safetensors').

    Raises:
        OSError: The files do not fit.
    """
    network.eval()
    weights = {name: each.contiguous() for name, each in network.state_dict().items()}
    (folder / FILES["safetensors"]).write_bytes(save(weights))
    program = trace(network, channels)
    with quiet_exporter():
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["translated"],
            dynamic_shapes=dynamic_shapes(),
            verbose=False,
        )
    assert exported is not None
    (folder / FILES["onnx"]).write_bytes(exported.model_proto.SerializeToString())
    onnx.checker.check_model(folder / FILES["onnx"], full_check=True)
    program.example_inputs = None  # they would be a pickle, and the only one in the file
    archive = io.BytesIO()
    torch.export.save(program, archive)
    (folder / FILES["pt2"]).write_bytes(archive.getbuffer())


def dynamic_shapes() -> tuple[dict[int, object]]:
    """Return dynamic shapes for any batch size and any in-plane size that is a multiple of 4."""
    rows, columns = Dim("quarter_rows", min=4), Dim("quarter_columns", min=4)
    return ({0: Dim("batch"), 2: MULTIPLE * rows, 3: MULTIPLE * columns},)


def trace(network: nn.Module, channels: int) -> ExportedProgram:
    """Trace the network for any batch and image size, and remove the paths of local source files,
    and the assertions by which a cast keeps the type and the device of its example."""
    # 2, 64 and 80 differ from each other and from 1, which the tracer would take for constants.
    example = torch.zeros(2, channels, 64, 80)
    with network.register_forward_pre_hook(require_multiples):
        program = torch.export.export(network, (example,), dynamic_shapes=dynamic_shapes())
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
        if node.target == torch.ops.aten._assert_tensor_metadata.default:
            program.graph.erase_node(node)
    program.graph_module.recompile()
    return program


def require_multiples(network: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """Make a traced network refuse in-plane sizes that are no multiples of `MULTIPLE`.

    The tracer takes `dynamic_shapes` as given and checks nothing: a slice of 62 rows would be
    returned with 64. These views change no value, and fail for such sizes in every runtime.
    """
    (image,) = inputs
    for axis in (2, 3):
        image = image.unflatten(axis, (-1, MULTIPLE)).flatten(axis, axis + 1)
    return (image,)


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Suppress warnings about internals of the ONNX exporter.

    The exporter warns that torchvision's operators are absent, which no generator uses, and
    triggers a deprecation inside torch (FutureWarning from copyreg, torch 2.13).
    """
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def open_format(
    form: Format, folder: Path, channels: int, settings: GeneratorConfig, device: str = "cpu"
) -> Network:
    """Open an exported network on `device` as a callable from [B, C, H, W] to [B, 1, H, W].

    The hashes of a model folder show damage, not intent: whoever crafts a file can hash it. Weights
    and ONNX files run no code of their own when they are opened. torch.export.load unpickles what
    it finds without restriction, so a file of which it could is refused.

    Raises:
        ModelError: The file has other parts than those that `write_formats` writes, or is not of
            the network that `channels` and `settings` describe.
    """
    path = folder / FILES[form]
    if form == "pt2":
        refuse_pickles(path)
    try:
        if form != "safetensors":
            return _opened(form, path, channels, device)
        generator = network_of(
            load_file(path),
            partial(generator_of, in_channels=channels, **asdict(settings)),
            filters=settings.filters,
            blocks=settings.blocks,
        )
    except Exception as error:  # of any type: a crafted file fails inside of one of three libraries
        raise ModelError(
            f"{path} is not the network that model.json beside it describes: {error}. Copy the "
            "folder again from its source, or export it again:\n"
            "  python -m cyclegan.export RUN_FOLDER"
        ) from error
    return generator.eval().requires_grad_(False).to(device)


def _opened(form: Format, path: Path, channels: int, device: str) -> Network:
    """Open a file that contains its graph, and try it: the graph may be another than claimed."""
    if form == "onnx":
        network: Network = OnnxNetwork(path)
    else:
        network = cast(Network, torch.export.load(path).module().to(device))
    smallest = torch.zeros(1, channels, 4 * MULTIPLE, 4 * MULTIPLE, device=device)
    with torch.inference_mode():
        found, expected = tuple(network(smallest).shape), (1, 1, *smallest.shape[2:])
    if found != expected:
        raise ValueError(f"a slice of {tuple(smallest.shape)} becomes {found}")
    return network


def refuse_pickles(path: Path) -> None:
    """Refuse a file of torch.export with a pickle or compiled code in it.

    Raises:
        ModelError: The file has other parts than those that `write_formats` writes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = {info.filename.partition("/")[2]: info for info in archive.infolist()}
            configs = [archive.read(info) for name, info in parts.items() if "_config.json" in name]
            payloads = [p for text in configs for p in parse_json(text)["config"].values()]
    except (OSError, ValueError, KeyError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} is no file of torch.export: {error!r}.") from error
    foreign = [name for name in parts if not re.fullmatch(_PT2_PARTS, name)]
    foreign += [n for n, info in parts.items() if "sample_inputs" in n and info.file_size]
    foreign += [str(p.get("path_name")) for p in payloads if p.get("use_pickle") is not False]
    if foreign:
        raise ModelError(
            f"{path} contains {', '.join(foreign[:3])}, from which torch would run code when it "
            "opens the file; this project writes no such part. Use another format of the model, or "
            "export it again: python -m cyclegan.export RUN_FOLDER"
        )


class OnnxNetwork:
    """An ONNX file run by onnxruntime on the CPU, called like a torch network."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
        """Translate slices."""
        (translated,) = self.session.run(None, {"image": image.cpu().numpy()})
        return torch.from_numpy(translated)
