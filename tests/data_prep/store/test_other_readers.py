"""A volume of a store is an OME-Zarr image to others: the same voxels, mask and millimetres."""

import numpy as np
import pytest
import tensorstore
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models.v05 import Image, ImageLabel, Labels

from data_prep.store.store import Store
from tests.support.stores import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("s") / "s.zarr", mri=1, ct=1)


def test_ome_zarr_reads_image_mask_and_spacing(store):
    for volume in store.volumes:
        image, _, body = Reader(parse_url(store.path / volume.name))()

        np.testing.assert_array_equal(image.data[0].compute(), store.voxels(volume))
        np.testing.assert_array_equal(body.data[0].compute(), store.body(volume))
        for node in (image, body):
            assert [(a["name"], a["unit"]) for a in node.metadata["axes"]] == [
                (axis, "millimeter") for axis in "zyx"
            ]
            (scale,) = node.metadata["coordinateTransformations"][0]
            np.testing.assert_allclose(scale["scale"], store.spacing_mm)


def test_the_models_of_ome_zarr_0_5_find_nothing_wrong(store):
    for volume in store.volumes:
        group = zarr.open_group(store.path / volume.name, mode="r")

        assert Image.from_zarr(group).ome_attributes.version == "0.5"
        assert Labels.from_zarr(group["labels"]).ome_attributes.labels == ["body"]
        label = ImageLabel.from_zarr(group["labels/body"])
        assert label.ome_attributes.image_label.source.image == "../../"


@pytest.mark.parametrize("array", ["0", "labels/body/0"])
def test_zarr_python_and_tensorstore_alone_read_the_same_voxels(store, array):
    for volume in store.volumes:
        path = store.path / volume.name / array
        spec = {"driver": "zarr3", "kvstore": path.kvstore(), "fill_missing_data_reads": False}
        ours = store.voxels(volume) if array == "0" else store.body(volume)

        np.testing.assert_array_equal(zarr.open_array(path, mode="r")[:], ours)
        np.testing.assert_array_equal(tensorstore.open(spec).result().read().result(), ours)
