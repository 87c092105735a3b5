"""The report as one HTML file, with all tables, images and curves embedded."""

import base64
from collections.abc import Mapping
from functools import partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from cyclegan.contrast.table import ContrastTable
from cyclegan.evaluate.report.baseline_wins import best_mean, sentences_of_wins
from cyclegan.evaluate.report.figures import error_maps, volume_figure
from cyclegan.evaluate.report.labels import (
    LABELS,
    NO_TRAIN_CTS,
    captions_of,
    comparisons_of,
    definitions_of,
    spread_of,
    text_of,
)
from cyclegan.evaluate.report.plots import heights_plot, learning_curves, skull_plot, volumes_plot
from cyclegan.evaluate.report.table_plot import table_plot
from cyclegan.evaluate.report.tables import structures_of
from cyclegan.evaluate.report.viewer import WINDOWS_HU, viewer_of
from cyclegan.evaluate.score_table import (
    AGAINST_ATLAS,
    CYCLE,
    DETAIL,
    PAIRED,
    POPULATION,
    UNPAIRED,
    Scores,
)
from mrct.imaging.hounsfield import DIFFERENCE_WINDOW_HU, SOFT_TISSUE_WINDOW_HU

NO_CURVES = "The run left no metrics.jsonl with losses or scores."
NO_RUN = "An exported model contains no learning curves; the folder of its run does."


def html_report(
    scores: Scores,
    *,
    title: str,
    facts: Mapping[str, str],
    records: list[dict[str, Any]] | None,
    hashes: Mapping[str, str] | None = None,
    table: ContrastTable | None = None,
) -> str:
    """Return the report as HTML.

    Args:
        scores: The scores of an evaluation.
        title: The heading, with the name of the run.
        facts: Other facts shown at the top, by name: checkpoint, store, preset.
        records: Lines of the run's metrics.jsonl, for the learning curves; None without a run.
        hashes: SHA-256 of data and model, by name.
        table: Contrast table of the run, to be shown.
    """
    template = Environment(
        loader=PackageLoader("cyclegan.evaluate", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    ).get_template("report.html.j2")
    plots = {
        "curves": learning_curves(records or []),
        "by_volume": volumes_plot(scores),
        "by_height": heights_plot(scores),
        "skulls": skull_plot(scores),
        "table": table_plot(table) if table else None,
    }
    return template.render(
        scores=scores,
        title=title,
        facts=facts,
        paired=(*PAIRED, *AGAINST_ATLAS),
        detail=DETAIL,
        populations=POPULATION,
        unpaired=UNPAIRED,
        cycle=CYCLE,
        cycles=[modality for modality, _ in scores.means_by_modality("cycle_ssim")],
        structures=structures_of(scores),
        hashes=hashes or {},
        captions=captions_of(scores),
        labels=LABELS,
        text_of=text_of,
        spread_of=spread_of,
        comparisons=list(comparisons_of(scores)),
        definitions=definitions_of(scores),
        best=partial(best_mean, scores),
        beaten=list(sentences_of_wins(scores)),
        of_table=" ".join(table.sentences()) if table else "",
        no_train_cts=NO_TRAIN_CTS,
        no_curves=NO_RUN if records is None else NO_CURVES,
        pictures=[
            (viewer_of(shown), inline(volume_figure(shown)), inline(error_maps(shown)))
            for shown in scores.shown
        ],
        shown={shown.cycle.volume.name for shown in scores.shown},
        windows=WINDOWS_HU,
        soft_window=SOFT_TISSUE_WINDOW_HU,
        difference_window=window_text(DIFFERENCE_WINDOW_HU),
        inline=inline,
        **{name: inline(plot) for name, plot in plots.items()},
    )


def window_text(window_hu: tuple[float, float]) -> str:
    """Return a window as text."""
    return "{:g} to {:g} HU".format(*window_hu).replace("-", "−")


def inline(image: bytes | None, kind: str = "png") -> str:
    """Return an image as a data URL, or an empty string without an image."""
    if image is None:
        return ""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
