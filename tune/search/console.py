"""Show the progress of a search: a table on a terminal, a line for each event in a job log."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mrct.progress import QUIET_VARIABLE, duration
from tune.search.event_log import Trial, rank_trials
from tune.search.trial_score import Objective
from tune.space.space import Value, without_switches

ROWS = 12
"""Number of trials in the table while searching; the report has all."""
SHOWN_SETTINGS = 6
"""Number of settings in the table, of those that vary."""
Tell = Callable[[str], None]


@contextmanager
def status_text(
    trials: Callable[[], Sequence[Trial]], wanted: int, objective: Objective
) -> Iterator[Tell]:
    """Show a search while the block runs; the yielded function is called with the text of each
    event."""
    started, before = time.monotonic(), steps_of(trials())

    def status() -> str:
        done_steps = steps_of(trials()) - before
        return progress_line(
            trials(), wanted, objective, time.monotonic() - started, max(0, done_steps)
        )

    if os.environ.get(QUIET_VARIABLE):
        yield lambda event: None
        return
    if not sys.stderr.isatty():

        def tell_line(event: str) -> None:
            print(f"tune: {event}  [{status()}]", file=sys.stderr, flush=True)

        yield tell_line
        return

    last = [""]

    def view() -> Group:
        top = rank_trials(trials(), objective)
        running = [trial for trial in top if trial.state == "running"]
        others = [trial for trial in top if trial.state != "running"]
        rows = others[: max(1, ROWS - len(running))] + running
        return Group(trials_table(rows, objective), Text(status()), Text(last[0], style="dim"))

    with Live(console=Console(stderr=True), get_renderable=view, refresh_per_second=1) as live:

        def tell_table(event: str) -> None:
            last[0] = event
            live.refresh()

        yield tell_table


def steps_of(trials: Sequence[Trial]) -> int:
    """Return the optimizer steps of all trials."""
    return sum(trial.step for trial in trials)


def progress_line(
    trials: Sequence[Trial], wanted: int, objective: Objective, elapsed_s: float, steps: int
) -> str:
    """Return the progress of a search as text; `steps` were trained in the last `elapsed_s`
    seconds."""
    ended = [trial for trial in trials if trial.state != "running"]
    counts = {
        "running": len(trials) - len(ended),
        "stopped early": sum(trial.state == "stopped" for trial in ended),
        "failed": sum(trial.state == "failed" for trial in ended),
    }
    parts = [f"{len(ended)} of {wanted} ended"]
    parts += [f"{count} {what}" for what, count in counts.items() if count]
    top = rank_trials(trials, objective)
    if top and (score := top[0].score(objective)) is not None:
        parts.append(f"best {score:.4g} ({top[0].name})")
    if ended and steps:
        expected = steps_of(ended) / len(ended) * wanted
        left_s = max(0.0, expected - steps_of(trials)) * elapsed_s / steps
        parts.append(f"about {duration(left_s)} left")
    return ", ".join(parts)


def trials_table(
    trials: Sequence[Trial], objective: Objective, columns: int = SHOWN_SETTINGS
) -> Table:
    """Return a table with one row per trial, in the given order; settings without their section,
    for width."""
    names = varied_settings(trials)[:columns]
    result = Table(
        *("Trial", "Score", "State", "Steps"),
        *map(short_name, names),
        box=SIMPLE,
        title=f"{objective.metric.removeprefix('val/')}, {objective.direction}",
    )
    for trial in trials:
        score = trial.score(objective)
        result.add_row(
            f"{trial.name} ({trial.origin})" if trial.origin else trial.name,
            "-" if score is None else f"{score:.4f}",
            "stopped early" if trial.state == "stopped" else trial.state,
            str(trial.step),
            *(short_value(trial.values.get(name)) for name in names),
        )
    return result


def varied_settings(trials: Sequence[Trial]) -> list[str]:
    """Return the settings in which the trials differ; the switch of a term is omitted if its weight
    varies."""
    names = {name: None for trial in trials for name in trial.values}
    different = [
        name for name in names if len({repr(trial.values.get(name)) for trial in trials}) > 1
    ]
    return without_switches(different)


def short_name(setting: str) -> str:
    """Return a setting without its section, for width; a dial has none."""
    return setting.partition(".")[2] or setting


def short_value(value: Value | None) -> str:
    """Return a value in a few characters; a value that is not used is `off`."""
    if value is None:
        return "off"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
