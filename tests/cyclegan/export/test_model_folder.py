"""A model folder is whole and unchanged, or it is refused with the name of what is wrong."""

import json
import random
import shutil
from dataclasses import replace

import pytest
import torch

from cyclegan.errors import ModelError
from cyclegan.export.formats import FILES
from cyclegan.export.metadata import INFO, write_info
from cyclegan.export.model_card import model_card
from cyclegan.export.model_folder import (
    CARD,
    CONTENT,
    SUMS,
    model_folder_of,
    publish_folder,
    read_model,
    sums_of,
    verify_model,
)
from data_prep.preprocess.spec import VERSION
from data_prep.store.subject_record import SUBJECTS_FILE, UNKNOWN_SUBJECTS, subjects_content
from tests.support.kills import killed_before_rename
from tests.support.models import traced_generator


@pytest.fixture(scope="module")
def published(tmp_path_factory, info):
    """A published model, without the parity gate; and the network in it."""
    network, files = traced_generator(tmp_path_factory, "resize")
    folder = tmp_path_factory.mktemp("published") / "model"

    def fill(partial):
        shutil.copytree(files, partial, dirs_exist_ok=True)
        write_info(info, partial)
        (partial / CARD).write_text(model_card(info))
        (partial / SUBJECTS_FILE).write_bytes(subjects_content(UNKNOWN_SUBJECTS))

    publish_folder(folder, fill)
    return folder, network


@pytest.fixture
def model(published, folder):
    """A copy to damage."""
    shutil.copytree(published[0], folder)
    return folder, published[1]


def seal(folder):
    (folder / SUMS).write_bytes(b"".join(sums_of(folder)))


@pytest.mark.parametrize("form", FILES)
def test_what_was_published_is_read_back(model, info, form):
    folder, network = model
    image = torch.rand(2, 1, 32, 40)

    read = read_model(folder, form)

    assert read.info == info
    assert (read.info.source, read.info.target) == ("mri", "ct")
    with torch.inference_mode():
        torch.testing.assert_close(read.network(image), network(image), atol=1e-5, rtol=0)


def test_a_flipped_bit_anywhere_is_refused_by_the_name_of_the_file(model):
    folder, _ = model
    choice = random.Random(0)

    for name in [*CONTENT, SUMS]:
        good = (folder / name).read_bytes()
        for _ in range(40):
            bit = choice.randrange(8 * len(good))
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << bit % 8
            (folder / name).write_bytes(bad)
            with pytest.raises(ModelError, match=name):
                read_model(folder)
        (folder / name).write_bytes(good)
    verify_model(folder)


@pytest.mark.parametrize("name", CONTENT)
def test_a_missing_file_is_named(model, name):
    folder, _ = model
    (folder / name).unlink()

    with pytest.raises(ModelError, match=f"{name} is missing"):
        read_model(folder)


def test_sha256sums_is_in_the_form_that_the_shell_tool_checks(model):
    lines = (model[0] / SUMS).read_text().splitlines()

    assert all(len(line.split("  ")[0]) == 64 for line in lines)
    assert [line.split("  ")[1] for line in lines] == CONTENT


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 1},
        {"preprocessing": {"version": VERSION + 1}},
        {"preprocessing": {"interpolation": "linear", "smoothing": 2}},
        {"direction": "to_pet"},
        {"surprise": 1},
        {"inputs": ["ct"]},
        {"neighbours": 1},
        {"intensity": {"mri_contrast": "plain", "window_hu": [-1000, 2000]}},
    ],
)
def test_what_another_version_wrote_is_refused_and_not_guessed(model, change):
    folder, _ = model
    values = json.loads((folder / INFO).read_text())
    (folder / INFO).write_text(json.dumps(values | change))
    seal(folder)

    with pytest.raises(ModelError, match="another version"):
        read_model(folder)


def test_a_folder_that_is_no_model_says_how_to_make_one(tmp_path):
    with pytest.raises(ModelError, match=r"python -m cyclegan\.export"):
        read_model(tmp_path)


def test_a_failed_export_leaves_nothing_and_keeps_what_was_there(model):
    folder, _ = model
    before = (folder / SUMS).read_bytes()

    def fill(partial):
        (partial / INFO).write_text("{}")
        raise ModelError("no")

    with pytest.raises(ModelError, match="no"):
        publish_folder(folder, fill, overwrite=True)

    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert (folder / SUMS).read_bytes() == before
    verify_model(folder)


def test_an_existing_folder_is_replaced_only_on_demand_and_only_if_it_is_a_model(model, tmp_path):
    folder, _ = model

    def fill(partial):
        for name in CONTENT:
            (partial / name).write_text("new")

    with pytest.raises(ModelError, match="--overwrite"):
        publish_folder(folder, fill)
    publish_folder(folder, fill, overwrite=True)
    assert (folder / INFO).read_text() == "new"

    (folder / "thesis.docx").write_text("precious")
    with pytest.raises(ModelError, match="not part of a model"):
        publish_folder(folder, fill, overwrite=True)
    assert (folder / "thesis.docx").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_model_whose_replacement_was_killed_is_there_for_the_next_command(model):
    folder, _ = model
    before = sums_of(folder)

    def fill(partial):
        (partial / INFO).write_text("new")

    assert killed_before_rename(1, lambda: publish_folder(folder, fill, overwrite=True))
    assert not folder.exists()

    assert model_folder_of(folder, None) == folder
    assert sums_of(folder) == before
    verify_model(folder)


def test_the_card_says_what_the_model_is_and_what_it_scored(info):
    card = model_card(replace(info, parity={"generator.onnx": 0.0012}))

    assert "research only" in card
    assert "| scores | MAE 123 HU, bone Dice 0.81 (test split, 4 subjects) |" in card
    assert "differ from the trained network by at most 0.0012 HU |" in card
    assert "| scores | none were given; `python -m" in model_card(replace(info, scores=None))
    unpaired = {"paired": {}, "populations": {"CycleGAN": {"hu_distance": 55.0}}}
    assert "| scores | of no pair of MRI and CT;" in model_card(replace(info, scores=unpaired))


def test_a_folder_of_both_directions_is_published_and_replaced_as_one(published, info, tmp_path):
    folder = tmp_path / "model_both"

    def fill(partial):
        for way, source in (("to_ct", "mri"), ("to_mri", "ct")):
            (partial / way).mkdir()
            for name in FILES.values():
                shutil.copyfile(published[0] / name, partial / way / name)
            own = replace(info, direction=way, inputs=(source,))
            write_info(own, partial / way)
            (partial / way / CARD).write_text(model_card(own))

    publish_folder(folder, fill)
    for way in ("to_ct", "to_mri"):
        assert read_model(model_folder_of(folder, way)).info.direction == way
    assert model_folder_of(folder, None) == folder / "to_ct"
    publish_folder(folder, fill, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]

    (folder / "to_mri" / "thesis.docx").write_text("precious")
    with pytest.raises(ModelError, match="not part of a model"):
        publish_folder(folder, fill, overwrite=True)
    shutil.rmtree(folder / "to_mri")
    with pytest.raises(ModelError, match="only to_ct"):
        model_folder_of(folder, "to_mri")
