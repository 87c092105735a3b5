"""Scores as one HTML file: tables, pictures and curves are inside it, nothing comes from a URL."""

import base64
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from cyclegan.evaluate.figures import learning_curves, volume_figure
from cyclegan.evaluate.scorecard import (
    CYCLE,
    DETAIL,
    MODALITIES,
    PAIRED,
    POPULATION,
    UNPAIRED,
    Scores,
)
from cyclegan.evaluate.table import LABELS, comparisons_of, definitions_of, spread_of, text_of
from cyclegan.evaluate.viewer import viewer_of


def html_report(
    scores: Scores, *, title: str, facts: Mapping[str, str], records: list[dict[str, Any]]
) -> str:
    """The report.

    Args:
        scores: What was found.
        title: The heading: which run.
        facts: What else stands at the top, by name: checkpoint, store, preset.
        records: Lines of the run's metrics.jsonl, for the learning curves.
    """
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).from_string(files("cyclegan.evaluate").joinpath("report.html.j2").read_text())
    curves = learning_curves(records)
    return template.render(
        scores=scores,
        title=title,
        facts=facts,
        paired=PAIRED,
        detail=DETAIL,
        populations=POPULATION,
        unpaired=UNPAIRED,
        cycle=CYCLE,
        modalities=MODALITIES,
        labels=LABELS,
        text_of=text_of,
        spread_of=spread_of,
        comparisons=list(comparisons_of(scores)),
        definitions=definitions_of(scores),
        curves=inline(curves) if curves else None,
        pictures=[(viewer_of(shown), inline(volume_figure(shown))) for shown in scores.shown],
        inline=inline,
    )


def inline(image: bytes, kind: str = "png") -> str:
    """An image as a data URL."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
