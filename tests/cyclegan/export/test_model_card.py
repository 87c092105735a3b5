"""The card: a short table for people, a picture of what may be shown, and text for a paper."""

import re
from dataclasses import replace

import numpy as np
import pytest

from cyclegan.config.config import LossConfig
from cyclegan.config.presets import brain_256, smoke
from cyclegan.export.methods import CITATIONS, methods_section
from cyclegan.export.model_card import model_card, picture_of
from cyclegan.export.picture import example_picture, slice_by_network
from cyclegan.export.seen import SeenScans, Training
from data_prep.dicom.image_kind import PHANTOM
from tests.support.stores import make_store

SEEN = SeenScans(people=7, mri={"T1w": 4}, ct={"native": 3})


def test_the_table_has_about_ten_rows_without_raw_keys(info):
    trained = Training.of(brain_256(), "step_00000006", 2)
    card = model_card(replace(info, seen=SEEN, training=trained, exported_on="2026-11-30"))
    rows = re.findall(r"^\| ([^|]+) \| (.+) \|$", card, re.MULTILINE)

    assert 8 <= len(rows) <= 12
    facts = dict(rows)
    assert facts["has seen"] == "7 people: 4 MRIs (T1w) and 3 CTs (native), unpaired"
    assert facts["training"] == "6 steps (3 epochs); from random weights"
    assert facts["scores"] == "MAE 123 HU, bone Dice 0.81 (test split, 4 subjects)"
    assert "2026-11-30" in facts["made"]
    assert "ask who exported it" in facts["licence of the weights"]
    assert not re.search(r"\w_hu\b|schema_version|config_hash", card.split("## Use")[0])


def test_a_word_with_a_bar_stays_in_its_cell(info):
    card = model_card(replace(info, licence="mine | yours"))
    assert r"| licence of the weights | mine \| yours |" in card


@pytest.mark.parametrize("config", [smoke(), brain_256()], ids=["smoke", "brain"])
def test_every_citation_of_the_methods_is_listed_in_order(info, config):
    everything = replace(
        config,
        data=replace(config.data, use_pairs=True, companions=16 * "0"),
        loss=LossConfig().mapped(lambda term: replace(term, enabled=True)),
    )
    text = methods_section(
        replace(info, seen=SEEN, training=Training.of(everything, "step_00000006", 2))
    )
    paragraph, listed = text.split("\n\n")

    assert "without pairs" not in paragraph
    assert "unpaired" not in paragraph
    used = [int(number) for number in re.findall(r"\[(\d+)\]", paragraph)]
    assert list(dict.fromkeys(used)) == list(range(1, len(listed.splitlines()) + 1))
    assert all(line.partition(". ")[2] in CITATIONS.values() for line in listed.splitlines())
    assert "{" not in paragraph
    assert "7 people: 4 MRIs (T1w), 3 CTs (native)" in paragraph


def test_a_person_is_shown_only_where_that_is_asked_for(tmp_path, info):
    def double(image):
        return 2 * image

    for kind, people, is_there in (
        (PHANTOM, False, True),
        ("T1w", False, False),
        ("T1w", True, True),
    ):
        store = make_store(
            tmp_path / f"{kind}-{people}.zarr",
            mri=1,
            ct=1,
            paired=1,
            splits=("train", "val"),
            kind=kind,
        )
        make = slice_by_network(double, store, replace(info, preprocessing=store.preprocessing))
        picture = example_picture(store, "mri", make, people=people)
        assert (picture is not None) is is_there
        if picture:
            assert picture.content.startswith(b"\x89PNG")
            whose = "phantom" if kind == PHANTOM else "subject"
            card = model_card(info, picture)
            assert "![One slice: MRI, synthetic CT, real CT](example.png)" in card
            assert f"One slice of a {whose} that was not trained on." in card
    assert example_picture(store, "ct", lambda volume, z: np.ones((64, 64)), people=True)


def test_what_is_not_in_the_picture_is_not_in_its_caption(tmp_path, info):
    store = make_store(
        tmp_path / "s.zarr", mri=2, ct=1, splits=("train", "val"), shape=(3, 32, 32), kind=PHANTOM
    )

    picture = example_picture(store, "mri", lambda volume, z: np.ones((32, 32)), people=False)

    assert picture.titles == ("MRI", "synthetic CT")
    assert "real" not in picture_of(picture)


@pytest.mark.parametrize("guide", ["none", "atlas", "table"])
def test_the_methods_name_the_guide_and_both_rates(info, guide):
    config = smoke()
    config = replace(config, optimizer=replace(config.optimizer, discriminator_learning_rate=1e-4))
    guided = replace(
        info,
        generator=replace(info.generator, guide=guide),
        training=Training.of(config, "step_00000006", 2),
    )

    text = methods_section(guided)

    assert ("output is added to" in text) is (guide != "none")
    assert ("MRI value, by a contrast table" in text) is (guide == "table")
    assert f"learning rate {config.optimizer.learning_rate:g} (discriminators 0.0001)" in text


def test_without_a_held_out_volume_there_is_no_picture(tmp_path, info):
    store = make_store(tmp_path / "s.zarr", mri=1, ct=1, kind=PHANTOM)
    assert example_picture(store, "mri", slice_by_network(abs, store, info), people=True) is None
