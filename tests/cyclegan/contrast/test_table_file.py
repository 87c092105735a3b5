"""The file of a table says what was fitted, and nothing else after a change."""

from dataclasses import replace

import numpy as np
import pytest

from cyclegan.atlas.positions import NUM_POSITIONS
from cyclegan.contrast import table_file
from cyclegan.contrast.table import ARRAYS, ContrastTable
from cyclegan.contrast.table_file import TABLE_FILE, read_table, table_bytes
from cyclegan.contrast.value_bins import NUM_HU_BINS
from cyclegan.errors import TableError
from cyclegan.nets.guide import NUM_MRI_BINS
from mrct.storage.local_path import LocalPath

RANDOM = np.random.default_rng(0)
TABLE = ContrastTable(
    prior=RANDOM.dirichlet(np.ones(NUM_HU_BINS), NUM_POSITIONS).astype(np.float32),
    likelihood=RANDOM.dirichlet(np.ones(NUM_MRI_BINS), NUM_HU_BINS),
    bin_hu=np.linspace(-1000, 2000, NUM_HU_BINS).astype(np.float32),
    affinities=RANDOM.normal(size=(3, NUM_HU_BINS, NUM_HU_BINS)),
    histogram=RANDOM.integers(1, 99, NUM_MRI_BINS).astype(float),
    spacing_yx_mm=(2.0, 1.5),
    findings={"bell_width": 0.1},
)


def content_of(table: ContrastTable) -> bytes:
    return table_bytes(table, store_fingerprint="f" * 16, store_contents="c" * 16)


@pytest.fixture
def path(tmp_path) -> LocalPath:
    path = LocalPath(tmp_path / TABLE_FILE)
    path.put(content_of(TABLE))
    return path


def test_a_table_is_read_as_it_was_written(path):
    kept = read_table(path)

    for name in ARRAYS:
        assert np.array_equal(getattr(kept.table, name), getattr(TABLE, name)), name
    assert kept.table.findings == TABLE.findings
    assert kept.table.spacing_yx_mm == TABLE.spacing_yx_mm
    assert (kept.store_fingerprint, kept.store_contents) == ("f" * 16, "c" * 16)


def test_equal_tables_have_equal_hashes_and_others_do_not(path):
    first = read_table(path).sha256

    path.put(content_of(replace(TABLE, findings=dict(TABLE.findings))))
    assert read_table(path).sha256 == first
    path.put(content_of(replace(TABLE, bin_hu=TABLE.bin_hu + 1)))
    assert read_table(path).sha256 != first


def test_without_a_file_there_is_no_table(tmp_path):
    assert read_table(LocalPath(tmp_path / TABLE_FILE)) is None


@pytest.mark.parametrize("place", [0, 9, 60, 0.3, 0.7, -1])
def test_any_changed_byte_is_found(path, place):
    content = bytearray(path.read_bytes())
    at = int(place * len(content)) if isinstance(place, float) else place
    content[at] ^= 1
    path.put(bytes(content))

    with pytest.raises(TableError, match=r"damaged|changed after"):
        read_table(path)


def test_half_a_file_is_damaged(path):
    path.put(path.read_bytes()[: NUM_POSITIONS * 4])

    with pytest.raises(TableError, match="damaged"):
        read_table(path)


def test_a_table_of_other_positions_is_of_another_version(path, monkeypatch):
    monkeypatch.setattr(table_file, "TABLE_VERSION", table_file.TABLE_VERSION + 1)

    with pytest.raises(TableError, match="another version"):
        read_table(path)
