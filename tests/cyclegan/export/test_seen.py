"""A model says what it has seen: people or phantoms, kinds of scans, and how long."""

from dataclasses import replace

import pytest

from cyclegan.config.presets import smoke
from cyclegan.data.slice_index import find_domain
from cyclegan.errors import ConfigError
from cyclegan.export.seen import SeenScans, Training, seen_line
from data_prep.dicom.image_kind import PHANTOM
from mrct.imaging.modality import MODALITIES
from tests.support.stores import make_store


@pytest.mark.parametrize(
    ("scans", "text"),
    [
        (SeenScans(), "scans that were not recorded"),
        (
            SeenScans(people=24, mri={PHANTOM: 12}, ct={PHANTOM: 12}),
            "24 phantoms, no person: 12 MRIs, 12 CTs",
        ),
        (
            SeenScans(people=5, mri={"T2w": 1, "T1w": 3}, ct={"native": 2}),
            "5 people: 4 MRIs (T1w 3, T2w 1), 2 CTs (native)",
        ),
        (
            SeenScans(people=3, mri={PHANTOM: 1, "T1w": 1}, ct={"unknown": 1}),
            "3 people or phantoms: 2 MRIs (T1w 1, phantom 1), 1 CT (kind not recorded)",
        ),
        (
            SeenScans(people=2, mri={"unknown": 1}, ct={"unknown": 1}),
            "2 subjects of unknown kind: 1 MRI, 1 CT",
        ),
        (SeenScans(people=1, mri={"T1w": 1}), "1 person: 1 MRI (T1w), 0 CTs"),
    ],
)
def test_people_phantoms_and_kinds_are_said_in_a_line(scans, text):
    assert str(scans) == text
    assert "\n" not in seen_line(scans)


def test_the_train_split_alone_was_seen(tmp_path):
    splits = ("train", "train", "test")
    store = make_store(tmp_path / "s.zarr", mri=3, ct=2, paired=1, splits=splits, kind=PHANTOM)

    assert SeenScans.of(store) == SeenScans(people=4, mri={PHANTOM: 2}, ct={PHANTOM: 2})


@pytest.mark.parametrize("allowed", [False, True])
def test_a_network_has_seen_one_scan_of_a_paired_subject_unless_both_are_allowed(tmp_path, allowed):
    store = make_store(tmp_path / "s.zarr", mri=1, ct=1, paired=3, shape=(3, 32, 32), kind=PHANTOM)
    data = replace(smoke().data, allow_paired_train=allowed)

    seen = SeenScans.of(store, data)

    domains = [find_domain(store, data, modality, "train").volumes for modality in MODALITIES]
    assert [seen.mri[PHANTOM], seen.ct[PHANTOM]] == [len(volumes) for volumes in domains]
    assert (seen.people, seen.paired) == (5, 3 if allowed else 0)
    assert SeenScans.of(store).mri == {PHANTOM: 4}


def test_the_length_of_a_training_is_that_of_the_checkpoint():
    config = smoke()
    trained = Training.of(config, "step_00001500", 400)

    assert str(trained) == "1,500 steps (3.75 epochs)"
    assert trained.loss == config.loss.effective_weights
    assert str(Training.of(config, "step_00001500", None)) == "1,500 steps"
    line = seen_line(SeenScans(people=2, mri={"T1w": 2}), trained)
    assert line == "Trained on 2 people: 2 MRIs (T1w), 0 CTs; 1,500 steps (3.75 epochs)"


@pytest.mark.parametrize(
    "change", [{"people": -1}, {"mri": {"native": 1}}, {"ct": {"T1w": 1}}, {"ct": {"native": 0}}]
)
def test_what_cannot_have_been_seen_is_refused(change):
    with pytest.raises(ConfigError):
        replace(SeenScans(people=2, mri={"T1w": 2}), **change)
