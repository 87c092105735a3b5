"""Any segmenter that reads a CT and writes masks can say whose anatomy is where."""

import shlex
import sys

import numpy as np
import pytest

from cyclegan.errors import DataError
from cyclegan.evaluate.evaluate import evaluate
from cyclegan.evaluate.score_volume import ScoringOptions
from cyclegan.evaluate.segmenter import (
    Segmenter,
    StructureScores,
    compare_structures,
    simplify_names,
)
from cyclegan.inference.cycle import CycleNetworks
from mrct.errors import UsageError
from tests.support.stores import make_store

SCRIPT = """
import sys, nibabel, numpy
ct = nibabel.load(sys.argv[1])
hu = ct.get_fdata()
bone = (hu > 250).astype("uint8")
nibabel.save(nibabel.Nifti1Image(bone, ct.affine), sys.argv[2] + "/bone.nii.gz")
labels = numpy.select([hu < -200, hu > 250], [1, 7]).astype("uint8")
nibabel.save(nibabel.Nifti1Image(labels, ct.affine), sys.argv[2] + "/all.nii")
"""


def segmenter(tmp_path, script=SCRIPT):
    (tmp_path / "segment.py").write_text(script)
    command = f"{sys.executable} {shlex.quote(str(tmp_path / 'segment.py'))} {{ct}} {{out}}"
    return Segmenter(command=command)


def test_masks_and_label_maps_become_structures_on_the_cts_own_axes(tmp_path):
    hu = np.random.default_rng(1).integers(-1000, 1500, (4, 5, 6)).astype(np.int16)
    found = segmenter(tmp_path).structures(hu, np.diag([-1.0, -1, 3, 1]))
    assert set(found) == {"bone 1", "all 1", "all 7"}
    np.testing.assert_array_equal(found["bone 1"], hu > 250)
    np.testing.assert_array_equal(found["all 1"], hu < -200)


def test_a_structure_that_one_ct_lacks_has_no_overlap_and_no_distance():
    mask = np.zeros((3, 4, 5), bool)
    mask[1, 1:3, 1:3] = True
    everywhere = np.ones_like(mask)
    found = compare_structures({"a": mask}, {"a": mask, "b": mask}, everywhere, (3, 1, 1))
    assert found == {"a": (1.0, 0.0), "b": (0.0, None)}
    assert compare_structures({}, {"b": mask}, ~mask, (3, 1, 1)) == {}  # not seen by both


def test_a_label_is_the_same_structure_in_every_ct_whatever_else_that_shows():
    def scores(volume: str, structure: str) -> StructureScores:
        return StructureScores(
            volume=volume, subject="s", method="m", structure=structure, dice=1.0, hd95_mm=0.0
        )

    found = [
        scores("a", "all 1"),
        scores("a", "all 2"),
        scores("b", "all 1"),
        scores("b", "lung 1"),
    ]

    assert [each.structure for each in simplify_names(found)] == ["all 1", "all 2", "all 1", "lung"]


def test_an_evaluation_has_dice_of_each_structure_of_each_pair(tmp_path):
    store = make_store(
        tmp_path / "s.zarr", mri=0, ct=1, paired=2, shape=(6, 32, 32), splits=("train", "test")
    )
    networks = CycleNetworks(to_ct=lambda x: x, to_mri=lambda x: x, contrast="plain")
    options = ScoringOptions(segmenter=segmenter(tmp_path))
    scores = evaluate(networks, store, "test", options=options)
    bone = [row for row in scores.structures if row.structure == "bone"]
    assert len(bone) == 2
    assert {row.structure for row in scores.structures} == {"bone", "all 1", "all 7"}
    assert scores.segmenter == options.segmenter.command
    # Bone within the body is what bone Dice is of; the two see the same voxels above 250 HU.
    assert [row.dice for row in bone] == pytest.approx(scores.of("bone_dice"))


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("no-such-program-here {ct} {out}", "there is no no-such-program-here"),
        ("sh {ct}", r"it lacks \{out\}"),
    ],
)
def test_a_command_that_cannot_run_is_refused_before_anything_else(command, found):
    with pytest.raises(UsageError, match=found):
        Segmenter(command=command)


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("import sys; sys.exit('no licence')", "exit code 1: no licence"),
        ("", "wrote no"),
        (SCRIPT.replace("hu > 250).as", "hu[1:] > 250).as"), "on the CT's own grid"),
        (SCRIPT.replace('"uint8")', "float) / 2"), "no volume of whole numbers"),
    ],
)
def test_a_segmenter_that_fails_is_told_with_what_it_said(tmp_path, script, found):
    with pytest.raises(DataError, match=found):
        segmenter(tmp_path, script).structures(np.zeros((4, 5, 6)) + 300, np.eye(4))


def test_a_failing_segmenter_costs_the_anatomy_and_nothing_else(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=0, ct=0, paired=1, shape=(6, 32, 32))
    networks = CycleNetworks(to_ct=lambda x: x, to_mri=lambda x: x, contrast="plain")
    options = ScoringOptions(segmenter=segmenter(tmp_path, "raise SystemExit(3)"))
    scores = evaluate(networks, store, "train", options=options)
    assert scores.num_pairs == 1
    assert "exit code 3" in scores.failed[0]
