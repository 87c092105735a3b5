"""Every exported file is the trained network, for any batch and size, and nothing but it."""

import onnx
import pytest
import torch

from cyclegan.config.config import GeneratorConfig
from cyclegan.export.formats import FILES, OPSET, open_format
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
def test_a_size_that_the_network_cannot_halve_twice_is_refused(written, form):
    _, settings, folder = written
    network = open_format(form, folder, 1, settings)

    # onnxruntime raises its own exception, torch AssertionError: neither has a type to rely on.
    with pytest.raises(Exception, match=r"(?i)guard|shape|dimension"):
        network(torch.zeros(1, 1, 64, 62))


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
