"""Every exported file is the trained network, for any batch and size, and nothing but it."""

from copy import deepcopy

import onnx
import pytest
import torch
from torch.utils._pytree import tree_leaves

from cyclegan.config.config import GeneratorConfig
from cyclegan.export.formats import FILES, OPSET, open_format
from tests.support.compiling import COMPILER_MARKS
from tests.support.models import traced_generator


@pytest.fixture(scope="module", params=["resize", "transposed"])
def written(request, tmp_path_factory):
    """A generator, its settings and its files."""
    generator, folder = traced_generator(tmp_path_factory, request.param)
    return generator, GeneratorConfig(filters=4, blocks=1, upsample=request.param), folder


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("size", [(64, 64), (96, 80), (16, 132)])
def test_a_file_gives_what_the_network_gives(written, form, batch, size):
    generator, settings, folder = written
    image = torch.rand(batch, 1, *size) * 2 - 1

    with torch.inference_mode():
        expected = generator(image)
        translated = open_format(form, folder, 1, settings)(image)

    assert expected.std() > 0.1, "a flat picture would compare nothing"
    torch.testing.assert_close(translated, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", ["onnx", "pt2"])
@pytest.mark.parametrize("size", [(64, 62), (62, 64), (61, 64), (64, 63), (18, 18)])
def test_a_size_that_the_network_cannot_halve_twice_is_refused(written, form, size):
    _, settings, folder = written
    network = open_format(form, folder, 1, settings)

    # onnxruntime raises its own exception, torch AssertionError: neither has a type to rely on.
    with pytest.raises(Exception, match=r"(?i)guard|shape|dimension"):
        network(torch.zeros(1, 1, *size))


@pytest.mark.compile
@COMPILER_MARKS[0]
@pytest.mark.parametrize("size", [(64, 62), (62, 64), (64, 61)])
def test_a_file_of_torch_refuses_such_a_size_by_itself(written, size):
    """Traced under the shape checks of the tests, it would have guards of theirs too."""
    _, settings, folder = written
    network = open_format("pt2", folder, 1, settings)

    with pytest.raises(RuntimeError, match=r"to be of the form 4\*"):
        network(torch.zeros(1, 1, *size))


def test_no_node_of_a_torch_program_names_a_device_or_a_dtype(written):
    program = torch.export.load(written[2] / FILES["pt2"])
    nodes = [
        node
        for module in program.graph_module.modules()
        if isinstance(module, torch.fx.GraphModule)
        for node in module.graph.nodes
    ]

    assert len(nodes) > 30
    for node in nodes:
        constants = tree_leaves((node.args, node.kwargs))
        assert not [c for c in constants if isinstance(c, torch.device | torch.dtype)], node


def test_a_torch_program_runs_on_another_device_and_in_another_precision(written):
    generator, settings, folder = written
    image = torch.rand(2, 1, 32, 48) * 2 - 1

    on_meta = open_format("pt2", folder, 1, settings, "meta")
    assert on_meta(image.to("meta")).shape == image.shape

    program = torch.export.load(folder / FILES["pt2"]).module().to(torch.bfloat16)
    with torch.inference_mode():
        expected = deepcopy(generator).to(torch.bfloat16).layers(image.bfloat16())
        translated = program(image.bfloat16())
    assert translated.dtype == torch.bfloat16
    torch.testing.assert_close(translated, expected, atol=0, rtol=0)


def test_onnx_states_its_opset_and_its_free_axes(written):
    model = onnx.load(written[2] / FILES["onnx"])
    (image,) = model.graph.input

    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [OPSET]
    assert [dim.dim_param or dim.dim_value for dim in image.type.tensor_type.shape.dim] == [
        "batch",
        1,
        "4*quarter_rows",
        "4*quarter_columns",
    ]


def test_no_path_of_this_machine_gets_into_a_file(written):
    for name in FILES.values():
        assert b"generator.py" not in (written[2] / name).read_bytes()
