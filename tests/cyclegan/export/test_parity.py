"""A model is published only if its files do on real slices what the trained network does."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cyclegan.errors import ModelError
from cyclegan.export.export import export_models
from cyclegan.export.formats import FILES
from cyclegan.export.metadata import Intensity, channels_of
from cyclegan.export.model_folder import read_model
from cyclegan.export.parity import (
    VALUE_RANGE,
    check_parity,
    difference,
    example_slices,
    model_inputs,
    run_network,
)
from cyclegan.nets.generator import Generator
from tests.support.models import traced_generator


def inputs(store, config, info):
    """Inputs of a few slices: those of training, and those of a model in use."""
    slices, in_training = example_slices(store, config, info.source)
    return in_training, model_inputs(store, slices, info)


class Drifting(Generator):
    """Changes with every call, as a network with hidden state would; its graph cannot."""

    calls = 0

    def forward(self, image):
        self.calls += 1
        return super().forward(image) * 0.99**self.calls


def test_a_broken_export_is_not_published_and_leaves_nothing(info, store, config, folder):
    torch.manual_seed(0)
    broken = Drifting(filters=4, blocks=1, upsample="resize").eval()
    with torch.no_grad():
        for weights in broken.parameters():
            weights.normal_(0, 0.2)

    with pytest.raises(ModelError, match=r"generator\.onnx differs by up to"):
        export_models({"to_ct": (broken, info)}, store, config, folder)

    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "found"), [(0.05, "differs"), (float("nan"), "is not the network (?s:.*)not finite")]
)
def test_perturbed_weights_in_one_file_are_found_and_named(
    tmp_path_factory, info, store, config, folder, wrong, found
):
    network, files = traced_generator(tmp_path_factory, "resize")
    shutil.copytree(files, folder)
    path = folder / FILES["safetensors"]
    weights = load_file(path)
    weights["layers.1.weight"] += wrong * torch.randn_like(weights["layers.1.weight"])
    save_file(weights, path)

    with pytest.raises(ModelError, match=rf"generator\.safetensors {found}") as caught:
        check_parity(network, folder, *inputs(store, config, info), info.generator)

    assert "generator.onnx differs" not in str(caught.value)


def test_the_difference_is_in_hu():
    images = torch.zeros(3, 1, 8, 8)

    found = difference(run_network(lambda x: x, images), run_network(lambda x: x + 0.001, images))

    assert found == pytest.approx(0.001 * 4095 / 2, rel=1e-4)  # the window is two units wide


def test_a_size_that_only_a_larger_canvas_has_is_checked_too():
    images = torch.zeros(3, 1, 8, 8)
    right_at_8 = run_network(lambda x: x + 0.1 * (x.shape[-1] != 8), images)

    assert difference(run_network(lambda x: x, images), right_at_8) > 100


def test_the_slices_are_those_of_the_store_as_networks_see_them(store, config, info):
    in_training, in_use = inputs(store, config, replace(info, direction="to_mri"))
    (volume,) = store.select("ct", "val")

    expected = (store.voxels(volume) + 1024) / VALUE_RANGE * 2 - 1

    np.testing.assert_allclose(in_training[:, 0], expected, atol=1e-6)
    np.testing.assert_allclose(in_use[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("direction", ["to_ct", "to_mri"])
@pytest.mark.parametrize("contrast", ["plain", "inverted"])
@pytest.mark.parametrize(("neighbours", "conditions"), [(0, True), (1, False), (2, True)])
def test_a_model_is_used_on_what_it_was_trained_on(
    store, config, info, direction, contrast, neighbours, conditions
):
    settings = {"neighbours": neighbours, "conditions": conditions}
    data = replace(config.data, mri_contrast=contrast, dtype="float16", **settings)
    info = replace(
        info, direction=direction, intensity=Intensity(mri_contrast=contrast), **settings
    )

    half = replace(config, data=data, train=replace(config.train, precision="fp16"))

    in_training, in_use = inputs(store, half, info)

    assert in_use.shape[1] == 2 * neighbours + 1 + 2 * conditions
    torch.testing.assert_close(in_use, in_training, atol=2e-6, rtol=0)


@pytest.mark.parametrize("wrong", ["contrast", "conditions"])
def test_a_model_that_is_used_on_something_else_is_not_published(
    tmp_path_factory, store, config, info, wrong
):
    """Both sides of the check have the same, wrong, inputs if one part of the code makes both."""
    if wrong == "contrast":
        network, folder = traced_generator(tmp_path_factory, "resize")
        changed = replace(info, intensity=Intensity(mri_contrast="plain"))
        data = config.data
    else:  # three channels in either case
        network, folder = traced_generator(tmp_path_factory, "resize", channels=3)
        changed = replace(info, neighbours=1)
        data = replace(config.data, conditions=True)

    shown = inputs(store, replace(config, data=data), changed)

    with pytest.raises(ModelError, match=r"safetensors differs.*inputs differ by up to [1-9]\d\d"):
        check_parity(network, folder, *shown, info.generator)


@pytest.mark.slow
def test_a_model_of_neighbours_and_conditions_is_checked_on_what_it_is_shown(
    store, config, info, folder
):
    torch.manual_seed(0)
    network = Generator(in_channels=5, filters=4, blocks=1, upsample="resize").eval()
    channels = channels_of("to_ct", 1, True)
    info = replace(info, inputs=channels, neighbours=1, conditions=True)
    (volume,) = store.select("mri", "val")

    config = replace(config, data=replace(config.data, neighbours=1, conditions=True))
    images, _ = inputs(store, config, info)
    parity = export_models({"to_ct": (network, info)}, store, config, folder)["to_ct"]

    assert images.shape == (6, 5, 32, 40)
    np.testing.assert_array_equal(images[:, 0] > -1, store.body(volume) > 0)
    np.testing.assert_allclose(images[:, 4, 0, 0], 2 * volume.height - 1, rtol=1e-6)
    assert max(parity.values()) < 0.1
    model = read_model(folder)
    assert model.info.inputs == channels
    torch.testing.assert_close(model.network(images), network(images), atol=1e-5, rtol=0)
