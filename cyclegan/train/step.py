"""One training step: tensors in, tensors changed. It knows no device, worker, file or clock.

Axes: B slice pairs of this worker, H rows, W columns.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cyclegan.config import LossConfig
from cyclegan.data.batch import Batch
from cyclegan.data.channels import middle
from cyclegan.nets.losses import critic_loss
from cyclegan.nets.pairs import Critics, Translated
from cyclegan.train.ema import decay_at, update_mean
from cyclegan.train.guard import not_finite
from cyclegan.train.objective import Terms, translator_terms
from cyclegan.train.state import TrainState

Autocast = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """How a step is run: the networks as they were placed, and the arithmetic."""

    translators: nn.Module
    """The state's translators, compiled and behind DDP as the placement decided."""
    critics: nn.Module
    """The state's critics, likewise."""
    autocast: Autocast
    share: float = 1.0
    """This worker's part of the global batch times the number of workers: DDP takes the mean over
    workers, and this makes it the mean over samples where workers run unequal numbers of shards."""


def train_step(
    state: TrainState, engine: Engine, batch: Batch, weights: LossConfig, ema_decay: float
) -> Terms:
    """Update both translators, then both critics.

    Returns the loss terms by name, detached but still on the device: to read one is a sync between
    host and device, so the caller decides when to pay for it.
    """
    images, translator_terms, bad = update_translators(state, engine, batch, weights)
    update_mean(
        state.mean, state.translators, decay=decay_at(state.step, ema_decay), applied=1 - bad
    )
    critic_terms, critic_bad = update_critics(state, engine, batch, images)
    state.skipped += torch.maximum(bad, critic_bad)
    state.scaler.update()
    state.step += 1
    return {name: term.detach() for name, term in (translator_terms | critic_terms).items()}


def update_translators(
    state: TrainState, engine: Engine, batch: Batch, weights: LossConfig
) -> tuple[Translated, Terms, Tensor]:
    """Make both translators harder to catch. Returns their images, which the critics learn from."""
    with frozen(state.critics) as judge, engine.autocast():
        images: Translated = engine.translators(batch.mri, batch.ct)
        scores = judge(images.fake_mri, images.fake_ct)
    terms = translator_terms(batch, images, scores, weights)
    bad = descend(state.translator_optimizer, terms["loss/translators"], state.scaler, engine.share)
    return images, terms, bad


def update_critics(
    state: TrainState, engine: Engine, batch: Batch, images: Translated
) -> tuple[Terms, Tensor]:
    """Make both critics better at telling real slices from replayed fakes."""
    fake_mri = state.mri_pool.swap(images.fake_mri.detach(), state.step)
    fake_ct = state.ct_pool.swap(images.fake_ct.detach(), state.step)
    as_judged = state.translators.as_judged
    real_mri = as_judged(batch.mri, middle(batch.mri))
    real_ct = as_judged(batch.ct, middle(batch.ct))
    with engine.autocast():
        # Real and fake share one forward: InstanceNorm keeps no statistics across the batch.
        mri_scores, ct_scores = engine.critics(
            torch.cat([real_mri, fake_mri]), torch.cat([real_ct, fake_ct])
        )
    terms = {
        "loss/critic_mri": critic_loss(*mri_scores.chunk(2)),
        "loss/critic_ct": critic_loss(*ct_scores.chunk(2)),
    }
    total = terms["loss/critic_mri"] + terms["loss/critic_ct"]
    return terms, descend(state.critic_optimizer, total, state.scaler, engine.share)


def descend(
    optimizer: torch.optim.Adam, loss: Tensor, scaler: torch.amp.GradScaler, share: float
) -> Tensor:
    """One update, unless a gradient is not finite. Returns 1.0 if it was skipped, on the device."""
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(loss * share).backward()
    bad = not_finite(p for group in optimizer.param_groups for p in group["params"])
    # What fused Adam reads; an enabled scaler puts its own flag in its place.
    optimizer.found_inf = bad  # type: ignore[attr-defined]
    scaler.step(optimizer)
    return bad


@contextmanager
def frozen(critics: Critics) -> Iterator[Critics]:
    """The critics as judges: no gradients of their own, and spectral norm keeps its vectors."""
    critics.requires_grad_(False).eval()
    try:
        yield critics
    finally:
        critics.requires_grad_(True).train()
