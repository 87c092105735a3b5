"""A search as one HTML file: pictures and styles are inside it, nothing comes from a URL."""

from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from cyclegan.evaluate.report.report import inline
from mrct.drawing.curves import hex_colour
from tune.report.compare import verdicts
from tune.report.figures import importance_bars, score_over_time, slices_of
from tune.report.parallel_coordinates import picture
from tune.search.console import short
from tune.search.sampler import importances
from tune.search.search_folder import Found
from tune.space.space import without_switches


def html_report(found: Found, *, pictures: bool = True) -> str:
    """The report; `pictures` of the best and the worst trial take a while on a CPU."""
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).from_string(files("tune.report").joinpath("report.html.j2").read_text())
    over_time = score_over_time(found.trials, found.objective)
    bars = importance_bars(importances(found.trials, found.space, found.objective))
    scored = [trial for trial in found.trials if trial.score(found.objective) is not None]
    ends = [("Best", scored[0]), ("Worst", scored[-1])] if len(scored) > 1 else []
    shown = [
        (title, trial, inline(drawn[0]), drawn[1])
        for title, trial in (ends if pictures else [])
        if (drawn := slices_of(found.run_folder(trial)))
    ]
    first = [trial.scores[0].step for trial in scored]
    return template.render(
        found=found,
        scored=scored,
        columns=without_switches(found.space),
        first_step=min(first, default=0),
        parallel=picture(found.trials, found.space, found.objective),
        colour=lambda rank: hex_colour(0.05 + 0.95 * (1 - rank), "viridis_r"),
        over_time=inline(over_time) if over_time else None,
        importance=inline(bars) if bars else None,
        shown=shown,
        verdicts=verdicts(found.folder),
        short=short,
    )
