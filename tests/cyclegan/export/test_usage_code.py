"""The code of a model card does what `translate` does, with numpy, scipy and onnxruntime alone."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from cyclegan.config.config import GeneratorConfig
from cyclegan.export.formats import FILES, OPSET, open_format, write_formats
from cyclegan.export.metadata import Intensity, ModelInfo, channels_of
from cyclegan.export.model_card import model_card
from cyclegan.export.model_folder import ExportedModel
from cyclegan.nets.generator import Generator
from cyclegan.translate.engine import TranslationEngine, prepare_input
from tests.cyclegan.translate.conftest import centred, head
from tests.support.models import INFO

SHAPE = (19, 37, 34)
IR_VERSION = 10
"""Version of the file format: onnx writes a newer one by default than onnxruntime reads."""
ALONE = """
import sys
forbidden = "torch cyclegan mrct data_prep monai zarr nibabel".split()
sys.modules.update(dict.fromkeys(forbidden))  # None: an import raises
exec(sys.stdin.read())
third_party = {name.split(".")[0] for name, module in sys.modules.items() if module}
assert {"numpy", "onnxruntime"} <= third_party
"""


def any_network(channels: int, folder: Path) -> None:
    """An ONNX file of one convolution, in which every channel matters."""
    weights = np.random.default_rng(0).normal(0, 0.4, (1, channels, 3, 3)).astype(np.float32)
    sides = ["batch", channels, "rows", "columns"]
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["image", "weights"], ["sum"], pads=[1, 1, 1, 1]),
            onnx.helper.make_node("Tanh", ["sum"], ["translated"]),
        ],
        "any",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, sides)],
        [
            onnx.helper.make_tensor_value_info(
                "translated", onnx.TensorProto.FLOAT, ["batch", 1, "rows", "columns"]
            )
        ],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    opset = onnx.helper.make_opsetid("", OPSET)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    onnx.save(model, folder / FILES["onnx"])


def run_code_of_the_card(info: ModelInfo, folder: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", model_card(info), re.DOTALL)
    command = [sys.executable, "-I", "-c", ALONE]
    done = subprocess.run(command, input=code, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def check_card(info: ModelInfo, folder: Path) -> None:
    """Compare what the code of the card writes with the engine of `translate`."""
    model = ExportedModel(
        info=info, network=open_format("onnx", folder, len(info.inputs), GeneratorConfig())
    )
    volume = head(info.source, SHAPE, centred(np.diag([-5.0, -5.5, 9.0]), SHAPE))
    shown = prepare_input(info, volume)
    np.save(folder / "volume.npy", shown.voxels * shown.scale)
    np.save(folder / "body.npy", shown.body)

    run_code_of_the_card(info, folder)

    engine = TranslationEngine(model=model)
    expected = engine.values(engine.run(engine.images(shown), shown), shown)
    assert expected[shown.body].std() > 20, "a flat result would compare nothing"
    np.testing.assert_allclose(np.load(folder / "synthetic.npy"), expected, atol=1, rtol=0)


@pytest.mark.parametrize("direction", ["to_ct", "to_mri"])
@pytest.mark.parametrize("contrast", ["plain", "inverted"])
@pytest.mark.parametrize(("neighbours", "conditions"), [(0, False), (0, True), (2, True)])
def test_the_code_gives_what_translate_gives(tmp_path, direction, contrast, neighbours, conditions):
    info = replace(
        INFO,
        direction=direction,
        inputs=channels_of(direction, neighbours, conditions),
        neighbours=neighbours,
        conditions=conditions,
        intensity=Intensity(mri_contrast=contrast),
    )
    any_network(len(info.inputs), tmp_path)

    check_card(info, tmp_path)


@pytest.mark.slow
def test_the_code_runs_an_exported_generator_with_conditions(tmp_path):
    torch.manual_seed(0)
    generator = Generator(in_channels=5, filters=4, blocks=1)
    with torch.no_grad():
        for weights in generator.parameters():
            weights.normal_(0, 0.2)
    write_formats(generator, 5, tmp_path)
    inputs = channels_of("to_ct", 1, True)

    check_card(replace(INFO, inputs=inputs, neighbours=1, conditions=True), tmp_path)
