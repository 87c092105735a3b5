"""Runs of slices say of every row what a list of all slices would."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cyclegan.data.slice_index import SliceTable
from mrct.imaging.geometry import relative_height

VOLUMES = st.lists(st.lists(st.booleans(), min_size=1, max_size=8), min_size=1, max_size=12)


def table_of(volumes: list[list[bool]]) -> SliceTable:
    """Of volumes whose slices are shown or not; the lowest slice has height 0, the last 1."""
    depth = np.array([len(volume) for volume in volumes])
    shown = np.concatenate([np.array(volume) for volume in volumes])
    return SliceTable.of_volumes(shown, depth, lowest=0.0 * depth, highest=depth - 1.0)


@given(volumes=VOLUMES)
def test_rows_go_through_the_shown_slices_in_order(volumes: list[list[bool]]) -> None:
    table = table_of(volumes)
    expected = [(v, z) for v, volume in enumerate(volumes) for z, is_ in enumerate(volume) if is_]

    places = table.places(np.arange(len(table)))

    assert list(zip(*(place.tolist() for place in places), strict=True)) == expected
    heights = [
        relative_height(np.array(z), 0, len(volumes[v]) - 1).astype(np.float32) for v, z in expected
    ]
    np.testing.assert_array_equal(table.heights(np.arange(len(table))), heights)


@given(volumes=VOLUMES, cut=st.integers(1, 11))
def test_tables_of_parts_join_to_that_of_the_whole(volumes: list[list[bool]], cut: int) -> None:
    parts = [part for part in (volumes[:cut], volumes[cut:]) if part]

    joined = SliceTable.joined([table_of(part) for part in parts], [len(part) for part in parts])

    whole = table_of(volumes)
    rows = np.arange(len(whole))
    assert len(joined) == len(whole)
    np.testing.assert_array_equal(joined.places(rows), whole.places(rows))
    np.testing.assert_array_equal(joined.heights(rows), whole.heights(rows))


def test_rows_of_any_shape_keep_it() -> None:
    rows = np.array([[0, 1], [2, 3]])
    assert table_of([[True] * 4]).heights(rows).shape == rows.shape
