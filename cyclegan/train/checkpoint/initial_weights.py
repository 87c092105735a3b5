"""The first weights of a run that does not start from random ones: `train.init`."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from cyclegan.config.config import Config
from cyclegan.errors import ConfigError
from cyclegan.nets.guide import GUIDE_CHANNELS
from cyclegan.train.checkpoint.run_record import spacing_text
from cyclegan.train.checkpoint.weight_source import GeneratorWeights, read_source
from cyclegan.train.engine.state import TrainState, build_discriminators, build_generators
from data_prep.store.store import Store
from data_prep.store.subject_record import SubjectRecord

INPUT_WEIGHT = "layers.1.weight"
"""The weight of a generator whose shape depends on its input: [filters, inputs, 7, 7]."""
BRANCH_INPUT_WEIGHT = "branch.1.weight"
"""The second one of a guided generator: [filters / 2, inputs, 3, 3]."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class InitialWeights:
    """Weights that fit the networks of a run."""

    generators: Mapping[str, Tensor]
    """By their names in `Generators`; of both generators or of one."""
    discriminators: Mapping[str, Tensor]
    """By their names in `Discriminators`; empty if they start from random weights."""
    warmup_steps: int
    """Steps in which only the discriminators learn."""
    subjects: tuple[SubjectRecord, ...]
    """Subjects that the source was shown."""
    notes: list[str]
    """Sentences that state, layer by layer, what comes from the source and what does not."""


def initial_weights(config: Config, store: Store, steps: int) -> InitialWeights:
    """Read the source of `train.init` and fit it to the run's networks.

    Args:
        config: Configuration of the run.
        store: The run's store.
        steps: Optimizer steps of the whole run.

    Raises:
        ConfigError: There is no source, it has changed, or its generators do not fit.
        CheckpointError, ModelError: A file of the source is damaged, or of another version.
    """
    source = read_source(config.train.init)
    with torch.device("meta"):
        wanted = build_generators(config).state_dict()
        judges = build_discriminators(config).state_dict()
    notes: list[str] = []
    generators: dict[str, Tensor] = {}
    for direction in ("to_ct", "to_mri"):
        start = f"{direction}."
        own = {n.removeprefix(start): each for n, each in wanted.items() if n.startswith(start)}
        if direction not in source.generators:
            notes.append(f"{direction} starts from random weights: the source has none of it.")
            continue
        weights = source.generators[direction]
        require_same_input(direction, weights, config)
        tensors = fit_generator(weights, own, config)
        generators |= {start + name: each for name, each in tensors.items()}
        notes += notes_of(direction, weights, own, store)
    has_judges = shapes(source.discriminators) == shapes(judges)
    warmup_steps = 0 if has_judges else config.train.init_warmup_steps
    why = "others" if source.discriminators else "none"
    notes.append(
        "The discriminators start from those of the source."
        if has_judges
        else f"The discriminators start from random weights, because the source has {why}: only "
        f"they learn in the first {warmup_steps} steps."
    )
    if warmup_steps >= steps:
        raise ConfigError(
            f"train.init_warmup_steps is {warmup_steps}, and the run has {steps} steps: the "
            "generators would never learn. Lower --train.init-warmup-steps, or raise "
            "--train.max-steps or --train.epochs."
        )
    return InitialWeights(
        generators=generators,
        discriminators=source.discriminators if has_judges else {},
        warmup_steps=warmup_steps,
        subjects=source.subjects,
        notes=[f"train.init: {note}" for note in notes],
    )


def load_initial_weights(state: TrainState, weights: InitialWeights) -> None:
    """Replace the weights of a state at step 0; optimizers and pools stay new."""
    state.generators.load_state_dict(weights.generators, strict=False)  # one direction may be new
    state.mean.load_state_dict(state.generators.state_dict())
    if weights.discriminators:
        state.discriminators.load_state_dict(weights.discriminators)
    state.warmup_steps = weights.warmup_steps


def require_same_input(direction: str, weights: GeneratorWeights, config: Config) -> None:
    """Refuse a generator that is built otherwise, or needs what the run's input does not have.

    Raises:
        ConfigError: With the flags that make the run's generators like those of the source.
    """
    wanted = [
        (f"generator.{name}", value, getattr(config.generator, name))
        for name, value in asdict(weights.settings).items()
        if (direction, name) != ("to_mri", "guide")  # only MRI -> CT is guided
    ]
    if weights.mri_contrast:
        wanted.append(("data.mri_contrast", weights.mri_contrast, config.data.mri_contrast))
    if weights.neighbours > config.data.neighbours:
        wanted.append(("data.neighbours", weights.neighbours, config.data.neighbours))
    if weights.conditions and not config.data.conditions:
        wanted.append(("data.conditions", True, False))
    if others := [each for each in wanted if each[1] != each[2]]:
        found = "".join(f"\n  {name}: {value} -> {own}" for name, value, own in others)
        flags = " ".join(
            f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
            for name, value, _ in others
        )
        raise ConfigError(
            f"The generators of {config.train.init} do not fit this run (source -> this run):"
            f"{found}\nUse their values: {flags}"
        )


def fit_generator(
    weights: GeneratorWeights, own: Mapping[str, Tensor], config: Config
) -> dict[str, Tensor]:
    """Return the weights of the run's generator; those of inputs that the source does not have are
    zero, so that its first output is the source's.

    Args:
        weights: Weights of the source, whose inputs the run has too.
        own: Weights of the run's generator by name, of which only the shapes count.
        config: Configuration of the run.

    Raises:
        ConfigError: A weight is missing, unknown, of another shape, or not finite.
    """
    tensors = dict(weights.tensors)
    inputs = list(input_channels(weights, config))
    expected = shapes(own)
    firsts = [name for name in (INPUT_WEIGHT, BRANCH_INPUT_WEIGHT) if name in own]
    if len(firsts) > 1:  # the guide's channels follow those of the input
        channels = config.data.channels + config.data.num_conditions
        inputs += range(channels, channels + GUIDE_CHANNELS)
    for name in firsts:
        filters, _, *kernel = expected[name]
        expected[name] = (filters, len(inputs), *kernel)
    found = shapes(tensors)
    wrong = sorted(
        name for name in expected | found if expected.get(name) != found.get(name)
    ) or sorted(name for name, each in tensors.items() if not each.isfinite().all())
    if wrong:
        name = wrong[0]
        raise ConfigError(
            f"{config.train.init} has other weights than a generator of this run ({len(wrong)} of "
            f"{len(expected)} differ, or are not finite): {name} is {found.get(name, 'missing')} "
            f"instead of {expected.get(name, 'absent')}. It is damaged, or of another network. "
            "Give another source."
        )
    for name in firsts:
        first = torch.zeros(own[name].shape)
        first[:, inputs] = tensors[name].float()
        tensors[name] = first
    return tensors


def input_channels(weights: GeneratorWeights, config: Config) -> Iterator[int]:
    """Yield where each input channel of the source lies in the run's input, which may have more
    neighbours, and the conditions around them (`nets.input_channels`)."""
    if weights.conditions:
        yield 0
    first = int(config.data.conditions) + config.data.neighbours - weights.neighbours
    yield from range(first, first + 2 * weights.neighbours + 1)
    if weights.conditions:
        yield config.data.channels + config.data.num_conditions - 1


def notes_of(
    direction: str, weights: GeneratorWeights, own: Mapping[str, Tensor], store: Store
) -> Iterator[str]:
    """Yield what of a generator comes from the source, and what its training did not see."""
    yield f"{direction} starts from all {len(weights.tensors)} weights and biases of the source."
    known, every = weights.tensors[INPUT_WEIGHT].shape[1], own[INPUT_WEIGHT].shape[1]
    if known < every:
        yield (
            f"{direction} {INPUT_WEIGHT}: {known} of {every} input channels are those of the "
            f"source; the other {every - known} start at zero, so that the first output is the "
            "source's."
        )
    if weights.settings.guide != "none" and BRANCH_INPUT_WEIGHT in own:
        yield (
            f"{direction} looks up the {weights.settings.guide} of the source, which was fitted to "
            "other volumes; this run's own table is a row of its evaluations alone."
        )
    if weights.spacing_mm and weights.spacing_mm != tuple(store.spacing_mm):
        yield (
            f"{direction} was trained on voxels (z, y, x) of {spacing_text(weights.spacing_mm)}, "
            f"and must learn the scale of this store's {spacing_text(store.spacing_mm)}."
        )
    if weights.conditions and weights.height_axis not in ("", store.axis.sha256):
        yield (
            f"{direction} was trained on heights of another axis, and must learn where slices lie "
            "on that of this store."
        )
    if not weights.spacing_mm:
        yield (
            f"{direction} comes from a source that does not state its voxels: whether it was "
            "trained on voxels, MRI windows and HU like this run's cannot be checked."
        )


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor."""
    return {name: tuple(each.shape) for name, each in tensors.items()}
