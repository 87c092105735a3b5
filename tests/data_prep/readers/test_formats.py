"""MHA and NRRD come in as SimpleITK wrote them; nothing damaged, detached or vague gets through."""

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from data_prep.readers.formats import (
    DETACHED_SUFFIXES,
    VOLUME_SUFFIXES,
    decoded_bytes,
    read_file,
    read_grid,
    stem_of,
)
from mrct.errors import VolumeError

RANDOM = np.random.default_rng(0)
# Air and tissue, since numbers that cannot be HU are refused.
VOXELS = (RANDOM.choice([-1000, 0], (3, 4, 5)) + RANDOM.integers(0, 120, (3, 4, 5))).astype(
    np.int16
)
SPACING = (0.75, 1.125, 2.5)
ORIGIN = (-12.5, 40.25, 7.0)
# The 48 ways in which voxel axes can lie along the patient's.
TURNS = [
    np.diag(signs)[list(order)]
    for order in itertools.permutations(range(3))
    for signs in itertools.product([1.0, -1.0], repeat=3)
]
OBLIQUE = np.array([[0.936, -0.276, 0.218], [0.29, 0.956, -0.037], [-0.198, 0.098, 0.975]])
TYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64]
SUFFIX_AND_PACKING = [(".mha", False), (".mha", True), (".nrrd", False), (".nrrd", True)]


def image(voxels=VOXELS, direction=None) -> SimpleITK.Image:
    made = SimpleITK.GetImageFromArray(voxels)
    made.SetSpacing(SPACING)
    made.SetOrigin(ORIGIN)
    if direction is not None:
        made.SetDirection(direction.ravel())
    return made


def written(path: Path, made: SimpleITK.Image, packed: bool = False) -> Path:
    SimpleITK.WriteImage(made, path, packed)
    return path


def read(path: Path, modality="ct", **leniency):
    return read_file(path, modality=modality, pseudonym="p", **leniency)


def refusal(path: Path) -> VolumeError:
    with pytest.raises(VolumeError) as caught:
        read(path)
    assert caught.value.reason
    assert caught.value.remedy
    return caught.value


def edited(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    return path


@pytest.mark.parametrize(("suffix", "packed"), SUFFIX_AND_PACKING)
def test_every_orientation_is_the_one_of_simpleitks_nifti(tmp_path, suffix, packed):
    u, _, v = np.linalg.svd(OBLIQUE)
    for turn in (*TURNS, u @ v):
        made = image(direction=turn)
        oracle = read(written(tmp_path / "a.nii", made))

        volume = read(written(tmp_path / f"a{suffix}", made, packed))

        np.testing.assert_array_equal(volume.voxels, VOXELS)
        np.testing.assert_array_equal(oracle.voxels, VOXELS)
        np.testing.assert_allclose(volume.affine, oracle.affine, atol=1e-4)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
@pytest.mark.parametrize("kind", TYPES)
def test_every_number_type_is_read(tmp_path, suffix, kind):
    voxels = (VOXELS % 100).astype(kind)

    volume = read(written(tmp_path / f"a{suffix}", image(voxels)), "mri")

    np.testing.assert_array_equal(volume.voxels, voxels)


def test_big_endian_files_are_read(tmp_path):
    swapped = VOXELS.astype(">i2").tobytes()
    for path, old, new in [
        (tmp_path / "a.mha", b"OrderMSB = False", b"OrderMSB = True"),
        (tmp_path / "a.nrrd", b"endian: little", b"endian: big"),
    ]:
        edited(written(path, image()), VOXELS.tobytes(), swapped)
        np.testing.assert_array_equal(read(edited(path, old, new)).voxels, VOXELS)


def test_other_spaces_of_nrrd_are_turned_to_ours(tmp_path):
    path = written(tmp_path / "a.nrrd", image())
    lps = read(path).affine

    ras = read(edited(path, b"left-posterior-superior", b"right-anterior-superior")).affine
    las = read(edited(path, b"right-anterior-superior", b"left-anterior-superior")).affine

    np.testing.assert_allclose(ras, np.diag([-1, -1, 1, 1]) @ lps)
    np.testing.assert_allclose(las, np.diag([1, -1, 1, 1]) @ lps)


def test_a_time_axis_of_one_is_dropped_and_a_series_refused(tmp_path):
    one = SimpleITK.JoinSeries([image()])
    two = SimpleITK.JoinSeries([image(), image()])

    np.testing.assert_array_equal(read(written(tmp_path / "a.mha", one)).voxels, VOXELS)
    assert refusal(written(tmp_path / "b.mha", two)).code == "not-3d"
    assert refusal(written(tmp_path / "b.nrrd", two)).code == "not-3d"


@pytest.mark.parametrize(("suffix", "packed"), SUFFIX_AND_PACKING)
def test_a_cut_or_longer_file_is_refused(tmp_path, suffix, packed):
    path = written(tmp_path / f"a{suffix}", image(), packed)
    content = path.read_bytes()

    for changed in (content[:-1], content[:-40], content[:90], b"", content + b"\0"):
        path.write_bytes(changed)
        assert refusal(path).code in ("header-damaged", "zlib-damaged", "gzip-damaged")


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_no_flipped_bit_of_a_packed_stream_changes_a_voxel(tmp_path, suffix):
    path = written(tmp_path / f"a{suffix}", image(), True)
    good, choice, refused = path.read_bytes(), random.Random(0), 0
    start = good.index(b"LOCAL\n") + 6 if suffix == ".mha" else good.index(b"\n\n") + 2

    for _ in range(300):
        bad = bytearray(good)
        bad[choice.randrange(start, len(good))] ^= 1 << choice.randrange(8)
        path.write_bytes(bad)
        try:
            volume = read(path)
        except VolumeError:
            refused += 1
        else:  # unused bits, and a gzip stream's time stamp, may be anything
            np.testing.assert_array_equal(volume.voxels, VOXELS)

    assert refused > 270


@pytest.mark.parametrize(
    ("suffix", "old", "new", "code"),
    [
        (".mha", b"DimSize = 5 4 3", b"DimSize = 50000 40000 30000", "header-damaged"),
        (".mha", b"DimSize = 5 4 3", b"DimSize = 5 4 -3", "header-damaged"),
        (".mha", b"DimSize = 5 4 3", b"DimSize = 5 4.5 3", "header-damaged"),
        (".mha", b"NDims = 3", b"NDims = 2", "header-damaged"),
        (".mha", b"Spacing = 0.75", b"Spacing = 0", "header-damaged"),
        (".mha", b"Spacing = 0.75", b"Spacing = nan", "header-damaged"),
        (".mha", b"Matrix = 1 0 0 0 1", b"Matrix = 1 0 0 1 0", "affine-unusable"),
        (".mha", b"Matrix = 1", b"Matrix = 2", "header-damaged"),
        (".mha", b"Offset = -12.5", b"Offset = x", "header-damaged"),
        (".mha", b"TransformMatrix", b"Transformmatrix", "no-affine"),
        (".mha", b"MET_SHORT", b"MET_LONG", "voxel-type"),
        (".mha", b"ElementType", b"HeaderSize = 10\nElementType", "header-damaged"),
        (".mha", b"ElementType", b"ElementNumberOfChannels = 3\nElementType", "voxel-type"),
        (".mha", b"ElementType", b"NDims = 3\nElementType", "header-damaged"),
        (".mha", b"BinaryData = True", b"BinaryData = False", "header-damaged"),
        (".mha", b"= LOCAL", b"= /etc/passwd", "detached-data"),
        (".mha", b"= LOCAL", b"= LIST", "detached-data"),
        (".nrrd", b"sizes: 5 4 3", b"sizes: 50000 40000 30000", "header-damaged"),
        (".nrrd", b"sizes: 5 4 3", b"sizes: 5 12", "header-damaged"),
        (".nrrd", b"dimension: 3", b"dimension: 2", "header-damaged"),
        (".nrrd", b"(0.75,0,0)", b"(0,1,0)", "affine-unusable"),
        (".nrrd", b"(0.75,0,0)", b"(nan,0,0)", "header-damaged"),
        (".nrrd", b"space: left-posterior-superior\n", b"space dimension: 3\n", "no-affine"),
        (".nrrd", b"left-posterior-superior", b"scanner-xyz", "no-affine"),
        (".nrrd", b"type: short", b"type: block", "voxel-type"),
        (".nrrd", b"endian: little", b"endian: middle", "header-damaged"),
        (".nrrd", b"encoding: raw", b"encoding: hex", "header-damaged"),
        (".nrrd", b"encoding: raw", b"encoding: raw\nbyte skip: 5", "header-damaged"),
        (".nrrd", b"encoding: raw", b"encoding: raw\ndata file: /etc/passwd", "detached-data"),
        (".nrrd", b"kinds", b'space units: "m" "m" "m"\nkinds', "header-damaged"),
        (".nrrd", b"NRRD0004", b"NRRD0009", "header-damaged"),
    ],
)
def test_a_header_that_lies_or_leaves_open_is_refused(tmp_path, suffix, old, new, code):
    path = edited(written(tmp_path / f"a{suffix}", image()), old, new)

    assert refusal(path).code == code


def test_colours_are_no_volume(tmp_path):
    vectors = SimpleITK.GetImageFromArray(np.ones((2, 3, 4, 3), np.uint8), isVector=True)
    for suffix in (".mha", ".nrrd"):
        assert refusal(written(tmp_path / f"a{suffix}", vectors)).code == "voxel-type"


def test_an_unplaced_volume_is_read_where_the_caller_vouches_for_it(tmp_path):
    notes = []
    mha = edited(written(tmp_path / "a.mha", image()), b"TransformMatrix", b"Unknown")
    nrrd = edited(written(tmp_path / "a.nrrd", image()), b"space: left-posterior-superior\n", b"")

    for path in (mha, nrrd):
        volume = read(path, assume_affine=True, note=notes.append)
        np.testing.assert_allclose(volume.affine[:3, :3], np.diag([-0.75, -1.125, 2.5]))
    assert len(notes) == 2


def test_headers_whose_voxels_lie_elsewhere_are_refused_with_a_remedy(tmp_path):
    for name in ("a.hdr", "a.mhd", "a.nhdr"):
        made = tmp_path / name
        SimpleITK.WriteImage(image(), made.with_suffix(".img") if name == "a.hdr" else made)
        error = refusal(made)
        assert error.code == "detached-data"
        assert "one file" in error.remedy


def test_a_claim_is_known_before_voxels_are_read(tmp_path):
    for name in ("a.mha", "a.nrrd", "a.nii", "a.nii.gz"):
        assert decoded_bytes(written(tmp_path / name, image())) == 4 * 3 * 4 * 5


def test_a_stem_is_the_name_without_its_format():
    assert [stem_of(f"P.1{suffix.upper()}") for suffix in VOLUME_SUFFIXES] == ["P.1"] * len(
        VOLUME_SUFFIXES
    )
    assert set(DETACHED_SUFFIXES) < set(VOLUME_SUFFIXES)
    assert stem_of("notes.txt") == "notes.txt"


def test_a_name_that_is_no_text_is_a_name(tmp_path):
    path = written(tmp_path / "a.mha", image())
    odd = Path(str(tmp_path) + "/\udcff.mha")
    path.rename(odd)

    np.testing.assert_array_equal(read(odd).voxels, VOXELS)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_the_header_alone_tells_the_grid_that_the_whole_file_has(tmp_path, suffix):
    for turn in TURNS:
        path = written(tmp_path / f"a{suffix}", image(direction=turn))

        grid = read_grid(path)

        whole = read(path).grid
        assert grid.shape == whole.shape
        np.testing.assert_array_equal(grid.affine, whole.affine)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd", ".hdr"])
def test_what_the_header_alone_rules_out_is_refused_without_the_voxels(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    for content in (b"", b"no header", b"\x1f\x8b\x08\0 broken"):
        path.write_bytes(content)
        with pytest.raises(VolumeError) as alone:
            read_grid(path)
        assert alone.value.code == refusal(path).code


def test_a_file_without_orientation_has_a_grid_only_where_that_may_be_assumed(tmp_path):
    made = SimpleITK.GetImageFromArray(VOXELS)
    path = edited(written(tmp_path / "a.mha", made), b"TransformMatrix = 1 0 0 0 1 0 0 0 1\n", b"")

    with pytest.raises(VolumeError):
        read_grid(path)
    assert read_grid(path, assume_affine=True).shape == VOXELS.shape
