"""Range test of the learning rate (Smith 2017, section 3.3): one short training at rising rates.

Nothing of the run itself is written, only a picture. The rate rises by a constant factor from step
to step; the loss first falls, and rises again where the rate is too high.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, log10

from cyclegan.config.config import Config
from cyclegan.contrast.train_table import fit_train_table
from cyclegan.data.stream import print_note
from cyclegan.train.checkpoint.initial_weights import initial_weights, load_initial_weights
from cyclegan.train.checkpoint.run_record import table_of_run
from cyclegan.train.dry_run import open_dry_run
from cyclegan.train.engine.step import train_step
from cyclegan.train.first_state import guide_generators
from cyclegan.train.true_pairs import write_pairs
from data_prep.store.store import Store
from mrct.drawing.curves import Curve, Plot, draw_plots

NUM_RATES = 100
LOWEST_RATE, HIGHEST_RATE = 1e-6, 1e-1
"""Learning rates of the generators in the first and in the last step."""
MEMORY = 0.9
"""Share of the earlier steps in the running mean of the loss."""
DIVERGED = 4.0
"""The test ends where the running mean is this many times its minimum."""
SAFETY_FACTOR = 10.0
"""The suggestion is the rate of the lowest loss over this: at that rate itself, and in a longer
training already below it, the loss no longer falls."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RateTest:
    """The result of a range test."""

    rates: Sequence[float]
    """Learning rates of the generators, one for each step that was done."""
    losses: Sequence[float]
    """The generators' weighted loss at each of them."""
    discriminator_ratio: float
    """Learning rate of the discriminators over that of the generators."""

    @property
    def means(self) -> list[float]:
        """Return the running mean of the losses, without the bias of its start."""
        mean, means = 0.0, []
        for number, loss in enumerate(self.losses, 1):
            mean = MEMORY * mean + (1 - MEMORY) * loss
            means.append(mean / (1 - MEMORY**number))
        return means

    @property
    def lowest_at(self) -> float:
        """Return the rate of the lowest mean loss."""
        return min(zip(self.means, self.rates, strict=True))[1]

    @property
    def suggestion(self) -> float:
        """Return the suggested learning rate of the generators."""
        return self.lowest_at / SAFETY_FACTOR

    @property
    def ended_at_divergence(self) -> bool:
        """Return whether the loss rose before all rates were tried."""
        return len(self.rates) < NUM_RATES

    def __str__(self) -> str:
        rate, end = self.suggestion, self.rates[-1]
        rose = f"it diverged at {end:.1e}" if self.ended_at_divergence else "it never diverged"
        return (
            f"rate         {rate:.1e}, a tenth of {self.lowest_at:.1e}, where the generators' loss "
            f"was lowest; {rose} ({len(self.rates)} steps)\n"
            f"  --optimizer.learning-rate {rate:.1e} --optimizer.discriminator-learning-rate "
            f"{rate * self.discriminator_ratio:.1e}\n"
            "             A start for a search, and no more: the loss of a GAN does not tell how "
            "good its images are."
        )

    def picture(self) -> bytes:
        """Return the losses over the rates as a PNG."""
        x, means = [log10(rate) for rate in self.rates], self.means
        low, high = min(means), max(means)
        suggested = [log10(self.suggestion)] * 2
        curves = [
            Curve(x, [min(loss, high) for loss in self.losses], {"color": "C0", "alpha": 0.3}),
            Curve(x, means, {"color": "C0", "label": "running mean"}),
            Curve(
                suggested,
                [low, high],
                {"color": "C3", "linestyle": "--", "label": f"suggested: {self.suggestion:.1e}"},
            ),
        ]
        plot = Plot(
            curves=curves,
            title="Range test of the learning rate",
            x_label="learning rate of the generators, log10",
            y_label="loss of the generators",
        )
        return draw_plots([plot], (7, 4))


def find_rate(config: Config, store: Store) -> RateTest:
    """Train new networks, or those of `train.init`, at rising rates, until the loss diverges; both
    kinds of networks keep the ratio of their rates.

    Raises:
        ConfigError: The device has too little memory.
        DataError, StoreError: As raised by `open_stream`.
    """
    optimizer = config.optimizer
    ratio = optimizer.discriminator_learning_rate / optimizer.learning_rate
    factor = (HIGHEST_RATE / LOWEST_RATE) ** (1 / (NUM_RATES - 1))
    rates: list[float] = []
    losses: list[float] = []
    if config.data.use_pairs:
        write_pairs(store, config.data.min_pair_overlap, print_note)
    with open_dry_run(config, store) as dry_run:
        state = dry_run.state
        if config.generator.guide != "none":
            kept = table_of_run(config.run_folder)
            table = kept.table if kept else fit_train_table(store, workers=0).table
            guide_generators(state, config, table)
        if config.train.init:
            load_initial_weights(state, initial_weights(config, store, dry_run.steps))
        for number in range(NUM_RATES):
            rate = LOWEST_RATE * factor**number
            state.generator_optimizer.param_groups[0]["lr"].fill_(rate)
            state.discriminator_optimizer.param_groups[0]["lr"].fill_(ratio * rate)
            weights = config.loss.at(state.step, dry_run.steps)
            batch = next(dry_run.stream)
            terms = train_step(state, dry_run.engine, batch, weights, config.train.ema_decay)
            loss = float(terms["loss/generators"])
            if not isfinite(loss):
                break
            rates.append(rate)
            losses.append(loss)
            means = RateTest(rates=rates, losses=losses, discriminator_ratio=ratio).means
            if means[-1] > DIVERGED * min(means, default=inf):
                break
    return RateTest(rates=rates, losses=losses, discriminator_ratio=ratio)
