"""One training step on tensors, independent of devices, workers, files and clocks.

Axes: B slice pairs of this worker, H rows, W columns.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cyclegan.config.config import LossConfig
from cyclegan.data.batch import Batch
from cyclegan.nets.network_pairs import Discriminators, Translated
from cyclegan.train.engine.diagnostics import MEASURE_EVERY_STEPS
from cyclegan.train.engine.formulas import Formulas
from cyclegan.train.engine.gradients import AccumulatedGradients, clip, gradient_norm, not_finite
from cyclegan.train.engine.objective import Terms
from cyclegan.train.engine.state import TrainState, decay_at, update_mean

Autocast = Callable[[], AbstractContextManager[None]]
Fakes = tuple[Tensor, Tensor]
"""MRI and CT images that the discriminators see as fakes."""


class StepNumbers(NamedTuple):
    """Numbers that change from step to step, as tensors: compiled code would keep a float."""

    mean_rate: Tensor
    """1 - decay of the moving average."""
    weights: dict[str, Tensor]
    """Weights of the generators' loss by term."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainEngine:
    """Execution of steps: the placed networks, their precision, and the order of updates."""

    generators: nn.Module
    """The state's generators, compiled and wrapped in DDP as configured."""
    discriminators: nn.Module
    """The state's discriminators, compiled and wrapped in DDP as configured."""
    autocast: Autocast
    formulas: Formulas = field(default_factory=Formulas)
    """Conditions, losses and diagnostics, compiled as configured."""
    gradients: AccumulatedGradients = field(default_factory=AccumulatedGradients)
    """Combination of the gradients of parts and workers."""
    num_graphs: range = range(1)
    """Numbers of graphs that torch.compile may make in a run."""
    num_parts: int = 1
    """Micro-batches of this worker's batch, each with its own forward and backward."""
    part_weight: float = 1.0
    """Weight of the loss of one part, such that all samples of the step count alike."""
    clip_norm: float = 0.0
    """Largest gradient norm of an optimizer; 0: no limit."""
    discriminator_updates: int = 1
    """Discriminator updates per step."""
    discriminator_every_steps: int = 1
    """Steps between two discriminator updates."""
    lap: Callable[[str], None] = lambda part: None
    """Called when a part of the step ends, with "generators", then "discriminators"."""


def train_step(
    state: TrainState, engine: TrainEngine, batch: Batch, weights: LossConfig, ema_decay: float
) -> Terms:
    """Update both generators, then both discriminators.

    Args:
        state: State of the run, updated in place.
        engine: The placed networks.
        batch: Slices of this worker, in the order of its shards.
        weights: Weights of the generators' loss at this step.
        ema_decay: Decay of the generators' moving average, in [0, 1).

    Returns:
        The loss terms by name, detached but still on the device: reading one is a host-device sync,
        so the caller decides when to do it.
    """
    device = batch.mri.device
    return run_step(state, engine, batch, step_numbers(state.step, weights, ema_decay, device))


def step_numbers(
    step: int, weights: LossConfig, ema_decay: float, device: torch.device
) -> StepNumbers:
    """Return the numbers of a step on its device; the arguments are those of `train_step`."""
    effective = weights.effective_weights
    numbers = torch.tensor([1 - decay_at(step, ema_decay), *effective.values()])
    mean_rate, *factors = numbers.to(device, non_blocking=True).unbind()
    return StepNumbers(mean_rate, dict(zip(effective, factors, strict=True)))


def run_step(state: TrainState, engine: TrainEngine, batch: Batch, numbers: StepNumbers) -> Terms:
    """Run `train_step` with its numbers on the device, which a CUDA graph could not copy there."""
    parts = split_batch(batch, engine.num_parts)
    images, terms, bad = update_generators(state, engine, parts, numbers.weights)
    update_mean(state.mean, state.generators, numbers.mean_rate * (1 - bad))
    engine.lap("generators")
    fakes = swap_fakes(state, images)
    if state.step % engine.discriminator_every_steps == 0:
        for number in range(engine.discriminator_updates):
            if number:
                state.scaler.update()  # it allows only one optimizer step between two updates
            discriminator_terms, discriminator_bad = update_discriminators(
                state, engine, parts, fakes
            )
            terms |= discriminator_terms
            bad = torch.maximum(bad, discriminator_bad)
    if state.step % MEASURE_EVERY_STEPS == 0:
        terms |= engine.formulas.image_statistics(parts[0], images[0])
    state.skipped += bad
    state.streak.add_(bad).mul_(bad)
    state.scaler.update()
    state.step += 1
    engine.lap("discriminators")
    return terms


def split_batch(batch: Batch, num_parts: int) -> list[Batch]:
    """Split a batch into equal parts, in order."""
    tensors = batch.tensors
    parts = zip(*(each.chunk(num_parts) for each in tensors.values()), strict=True)
    return [replace(batch, **dict(zip(tensors, part, strict=True))) for part in parts]


def update_generators(
    state: TrainState, engine: TrainEngine, parts: Sequence[Batch], weights: Mapping[str, Tensor]
) -> tuple[list[Translated], Terms, Tensor]:
    """Update both generators.

    Returns:
        Their detached images per part, from which the discriminators learn; the mean loss terms;
        and 1.0 if the update was skipped, else 0.0.
    """
    optimizer, made, found = state.generator_optimizer, [], []
    optimizer.zero_grad(set_to_none=True)
    with freeze(state.discriminators) as judge:
        for part in parts:
            with engine.gradients.part(engine.generators, last=part is parts[-1]):
                with engine.autocast():
                    images: Translated = engine.generators(
                        part.mri, part.ct, part.companion, part.noise
                    )
                    scores = judge(images.fake_mri, images.fake_ct)
                terms = engine.formulas.generator_terms(part, images, scores, weights)
                state.scaler.scale(terms["loss/generators"] * engine.part_weight).backward()
            made.append(images.detached())
            found.append(terms)
    engine.gradients.finish(engine.generators)
    return made, mean_of(found), descend(optimizer, state.scaler, engine.clip_norm)


def swap_fakes(state: TrainState, images: Sequence[Translated]) -> list[Fakes]:
    """Return the images that the discriminators see instead of the new fakes, in the same parts."""
    # [parts x B / parts, 1, H, W]: the pools are per shard, not per part
    fake_mri = state.mri_pool.swap(torch.cat([made.fake_mri for made in images]), state.step)
    fake_ct = state.ct_pool.swap(torch.cat([made.fake_ct for made in images]), state.step)
    num_parts = len(images)
    return list(zip(fake_mri.chunk(num_parts), fake_ct.chunk(num_parts), strict=True))


def update_discriminators(
    state: TrainState, engine: TrainEngine, parts: Sequence[Batch], fakes: Sequence[Fakes]
) -> tuple[Terms, Tensor]:
    """Update both discriminators on real slices and replayed fakes.

    Returns:
        The mean loss terms and accuracies; and 1.0 if the update was skipped, else 0.0.
    """
    optimizer, found = state.discriminator_optimizer, []
    as_judged = state.generators.as_judged
    optimizer.zero_grad(set_to_none=True)
    for part, (fake_mri, fake_ct) in zip(parts, fakes, strict=True):
        # Spectral norm updates its vectors once per update, whatever the number of parts.
        state.discriminators.train(part is parts[0])
        with engine.gradients.part(engine.discriminators, last=part is parts[-1]):
            real_mri = as_judged(part.mri, part.middle_mri)
            real_ct = as_judged(part.ct, part.middle_ct)
            with engine.autocast():
                # Real and fake share one forward: InstanceNorm keeps no statistics over the batch.
                mri_scores, ct_scores = engine.discriminators(
                    torch.cat([real_mri, fake_mri]), torch.cat([real_ct, fake_ct])
                )
            terms = engine.formulas.discriminator_terms(mri_scores, ct_scores)
            total = terms["loss/discriminator_mri"] + terms["loss/discriminator_ct"]
            state.scaler.scale(total * engine.part_weight).backward()
        found.append(terms)
    state.discriminators.train()
    engine.gradients.finish(engine.discriminators)
    return mean_of(found), descend(optimizer, state.scaler, engine.clip_norm)


def descend(optimizer: torch.optim.Adam, scaler: torch.amp.GradScaler, clip_norm: float) -> Tensor:
    """Run one optimizer update, unless a gradient is not finite.

    Returns:
        1.0 if the update was skipped, else 0.0; on the device.
    """
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    if clip_norm:
        scaler.unscale_(optimizer)
    norm = gradient_norm(weights)
    bad = not_finite(norm)
    if clip_norm:
        clip(weights, norm, clip_norm)
    # Fused Adam reads this flag; an enabled scaler replaces it by its own.
    optimizer.found_inf = bad  # type: ignore[attr-defined]
    scaler.step(optimizer)
    return bad


def mean_of(found: Sequence[Terms]) -> Terms:
    """Return the mean of each term over the parts, detached."""
    # [terms, parts]
    stacked = torch.stack([torch.stack(list(terms.values())).detach() for terms in found], dim=1)
    return dict(zip(found[0], stacked.mean(1).unbind(), strict=True))


@contextmanager
def freeze(discriminators: Discriminators) -> Iterator[Discriminators]:
    """Freeze the discriminators: no weight gradients, and spectral norm keeps its vectors."""
    discriminators.requires_grad_(False).eval()
    try:
        yield discriminators
    finally:
        discriminators.requires_grad_(True).train()
