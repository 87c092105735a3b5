"""Slices are drawn with their values, to scale and in their window; sheets and grids lose none."""

import numpy as np
import pytest
from matplotlib.text import Text

from mrct.drawing.slices import (
    CT_SOFT,
    ImagePanel,
    Windowing,
    apply_colours,
    grid,
    in_twos,
    pixels,
    sheet,
)

GRAY = Windowing("gray", 0.0, 10.0, "of ten")
RAMP = np.arange(20.0).reshape(4, 5)


def picture(values=RAMP, **changes) -> ImagePanel:
    return ImagePanel(**({"values": values, "windowing": GRAY, "pixel_mm": (2.0, 1.0)} | changes))


def images_of(figure):
    return [image for axes in figure.axes for image in axes.images]


def test_a_grid_shows_each_picture_in_its_window_and_a_bar_for_each_of_bars():
    soft = picture(RAMP + 1, windowing=CT_SOFT, title="soft", sides="RL")
    figure = grid(
        [("first", [picture(), soft]), ("second", [picture(RAMP + 2)])], [GRAY], tile_inches=2
    )

    shown = images_of(figure)
    assert [image.get_array()[0, 0] for image in shown] == [0, 1, 2]
    assert [image.get_clim() for image in shown] == [(0, 10), (-160, 240), (0, 10)]
    texts = {text.get_text() for text in figure.findobj(Text)}
    assert {"first", "second", "soft", "R", "L", "of ten"} <= texts


def test_all_pictures_of_a_grid_have_one_scale():
    """A white picture of half the width and twice the height in mm is so in pixels too."""
    wide = picture(np.full((10, 40), 10.0), pixel_mm=(1.0, 1.0))
    tall = picture(np.full((10, 10), 10.0), pixel_mm=(2.0, 2.0))

    seen = pixels(grid([("", [wide, tall])], [GRAY], tile_inches=4.0)).min(axis=-1) > 250
    left, right = np.split(seen[:-50], 2, axis=1)  # without the bar

    sizes = [(part.any(axis=1).sum(), part.any(axis=0).sum()) for part in (left, right)]
    np.testing.assert_allclose(sizes, [(97.5, 390), (195, 195)], atol=2)


def test_an_outline_is_drawn_where_a_mask_has_an_edge():
    mask = RAMP > 6
    rows = [("", [picture(outline=mask), picture(outline=mask | True), picture()])]

    figure = sheet(rows, caption="three", tile_inches=1)

    assert [len(axes.collections) for axes in figure.axes] == [1, 0, 0]


@pytest.mark.parametrize("num_rows", [0, 1])
def test_a_sheet_of_few_pictures_has_room_for_its_caption(num_rows):
    figure = sheet([("row", [picture()])] * num_rows, caption="c", tile_inches=1, num_columns=3)

    assert len(figure.axes) == 3
    assert len(images_of(figure)) == num_rows


def test_pixels_of_a_window_are_its_colours_and_the_unknown_is_black():
    values = np.array([[-5.0, 0.0, 10.0, 15.0, np.nan]])

    np.testing.assert_array_equal(apply_colours(values, GRAY)[0, :, 0], [0, 0, 255, 255, 0])


def test_the_pictures_of_a_thin_stack_are_lower_not_wider():
    thin = [picture(np.ones((2, 200)), pixel_mm=(5.0, 1.0), title="thin")] * 2

    (rows, columns, _) = in_twos(thin, height=100).shape

    assert columns / 2 == 600
    assert rows == 30 + 30, "a line for titles"
