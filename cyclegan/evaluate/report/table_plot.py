"""What a contrast table has learned, as a picture."""

import numpy as np

from cyclegan.contrast.table import ContrastTable
from cyclegan.contrast.value_bins import NUM_HU_BINS, TABLE_EDGES_HU
from cyclegan.nets.guide import NUM_MRI_BINS, POSITION_BINS
from mrct.drawing.curves import Curve, Plot, draw_plots, hex_colour
from mrct.imaging.intensity import MEDIAN_LEVEL

SHOWN_BINS = (0, 5, 10, 13, 18, 23)
"""Air, fat, soft tissue, and thin, spongy and compact bone."""
SHOWN_HEIGHTS = (0.25, 0.5, 0.75)
VALUE = "MRI value; the body's median is 1"


def table_plot(table: ContrastTable) -> bytes:
    """Plot what each HU looks like (mean and width), whole looks of some HU, and what the table
    expects to see below the outline, as a PNG."""
    # The bins are even in the root of the value, whose median is MEDIAN_LEVEL.
    values = np.linspace(0, 1, NUM_MRI_BINS) ** 2 / MEDIAN_LEVEL
    means = table.likelihood @ values
    widths = np.sqrt(table.likelihood @ values**2 - means**2)
    bins = range(NUM_HU_BINS)
    looks = [
        Curve(
            bins, means.tolist(), {"color": "k", "marker": "o", "markersize": 3, "label": "mean"}
        ),
        *(
            Curve(bins, (means + side * widths).tolist(), {"color": "0.6", "linewidth": 0.8} | name)
            for side, name in ((-1, {"label": "one standard deviation"}), (1, {}))
        ),
    ]
    shapes = [
        Curve(
            values.tolist(),
            table.likelihood[bin_].tolist(),
            {"color": hex_colour(number / len(SHOWN_BINS), "viridis"), "label": name_of(bin_)},
        )
        for number, bin_ in enumerate(SHOWN_BINS)
    ]
    num_depths, num_heights, _ = POSITION_BINS
    expected = (table.prior @ means).reshape(POSITION_BINS).mean(axis=2)  # over directions
    profiles = [
        Curve(
            np.linspace(0, 1, num_depths).tolist(),
            expected[:, int(height * num_heights)].tolist(),
            {"color": f"C{number}", "label": f"height {height:g}"},
        )
        for number, height in enumerate(SHOWN_HEIGHTS)
    ]
    plots = [
        Plot(
            curves=looks,
            title="what each HU looks like",
            x_label="HU from",
            y_label=VALUE,
            x_names=[f"{edge:.0f}" for edge in TABLE_EDGES_HU[:-1]],
        ),
        Plot(curves=shapes, title="P(MRI value given HU)", x_label=VALUE),
        Plot(
            curves=profiles,
            title="what is expected by position",
            x_label="depth below the outline, 1 is deepest (root scale)",
            y_label=VALUE,
        ),
    ]
    return draw_plots(plots, (15, 4))


def name_of(bin_: int) -> str:
    """Return the range of a bin."""
    low, high = TABLE_EDGES_HU[bin_ : bin_ + 2]
    return f"{low:.0f} to {high:.0f} HU"
