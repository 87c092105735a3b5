"""What a model has seen: how many people, phantoms or real, which kinds of scans, how long.

`model.json` keeps it, the model card and the first lines of `translate` and `evaluate` say it.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from cyclegan.config.config import Config, DataConfig, LossConfig
from cyclegan.data.slice_index import serving_volumes
from cyclegan.errors import require
from data_prep.dicom.image_kind import KINDS, PHANTOM
from data_prep.store.store import Store
from mrct.imaging.modality import MODALITIES

_MOST = 1 << 40
"""More people, volumes or steps than any model has seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenScans:
    """The volumes that were learned from, both modalities together."""

    people: int = 0
    """Number of subjects; with 0 nothing is known."""
    mri: dict[str, int] = field(default_factory=dict)
    """Number of MRIs by kind (`data_prep.dicom.image_kind`)."""
    ct: dict[str, int] = field(default_factory=dict)
    """The same of CTs."""
    paired: int = 0
    """Number of subjects of whom both an MRI and a CT are among them."""

    def __post_init__(self) -> None:
        require(0 <= self.people < _MOST, "The number of people must be 0 or more.")
        require(0 <= self.paired <= self.people, "The number of pairs must be one of people.")
        for modality in MODALITIES:
            kinds = self.kinds(modality)
            require(
                isinstance(kinds, dict)
                and set(kinds) <= set(KINDS[modality])
                and all(type(count) is int and 0 < count < _MOST for count in kinds.values()),
                f"The kinds of the {modality} volumes must be names of kinds with their counts.",
            )

    @classmethod
    def of(cls, store: Store, config: DataConfig | None = None) -> "SeenScans":
        """Return those of the train split of a store, of which only the index is read; with the
        settings of a run those that its networks are shown, often one scan of a paired subject."""
        trained = {
            modality: serving_volumes(store, config, modality, "train")
            if config
            else store.select(modality, "train")
            for modality in MODALITIES
        }
        kinds = {
            modality: dict(Counter(kind.decode() for kind in volumes.texts("kind").tolist()))
            for modality, volumes in trained.items()
        }
        of_mri, of_ct = (set(trained[each].texts("subject").tolist()) for each in MODALITIES)
        return cls(
            people=len(of_mri | of_ct),
            mri=kinds["mri"],
            ct=kinds["ct"],
            paired=len(of_mri & of_ct),
        )

    def kinds(self, modality: str) -> dict[str, int]:
        """Return the number of volumes of a modality by kind."""
        return self.mri if modality == "mri" else self.ct

    @property
    def phantoms(self) -> int:
        """Number of volumes that are phantoms."""
        return self.mri.get(PHANTOM, 0) + self.ct.get(PHANTOM, 0)

    @property
    def known_kinds(self) -> set[str]:
        """The kinds of volumes that are known."""
        return {*self.mri, *self.ct} - {"unknown"}

    @property
    def are_phantoms(self) -> bool:
        """Whether all volumes are phantoms."""
        return bool(self.phantoms) and self.phantoms == sum(self.mri.values()) + sum(
            self.ct.values()
        )

    @property
    def who(self) -> str:
        """The number of people, if they are people."""
        if self.are_phantoms:
            return f"{self.people} phantom{'s' * (self.people != 1)}, no person"
        if not self.known_kinds:
            return f"{self.people} subject{'s' * (self.people != 1)} of unknown kind"
        people = "person" if self.people == 1 else "people"
        return f"{self.people} {people}{' or phantoms' * bool(self.phantoms)}"

    def scans(self, modality: str) -> str:
        """Return the number of scans of a modality, with their kinds unless all are phantoms."""
        kinds = self.kinds(modality)
        count = sum(kinds.values())
        text = f"{count} {modality.upper()}{'s' * (count != 1)}"
        if self.are_phantoms or not kinds or not self.known_kinds:
            return text
        names = ", ".join(
            f"{'kind not recorded' if kind == 'unknown' else kind}"
            + (f" {number}" if len(kinds) > 1 else "")
            for kind, number in sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
        )
        return f"{text} ({names})"

    def __str__(self) -> str:
        if not self.people:
            return "scans that were not recorded"
        return f"{self.who}: {self.scans('mri')}, {self.scans('ct')}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How long, and by what loss, a generator was trained."""

    steps: int = 0
    """Optimizer steps up to the checkpoint."""
    epochs: float = 0.0
    """Passes over the larger domain; 0 if its volumes are not known."""
    pairs_per_step: int = 0
    """Unpaired slices of each modality in a step; with 0 nothing is known."""
    learning_rate: float = 0.0
    discriminator_learning_rate: float = 0.0
    """0 if it is not known."""
    learning_rate_schedule: Literal["constant", "linear", "cosine"] = "constant"
    loss: dict[str, float] = field(default_factory=dict)
    """Weights of the terms of the generators' loss, without those of 0."""
    is_spectral: bool = False
    """Whether the discriminators have spectral norm."""
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.steps < _MOST, "The number of steps must be 0 or more.")
        weights = self.loss.values() if isinstance(self.loss, dict) else [self.loss]
        require(
            all(isinstance(weight, int | float) for weight in weights)
            and set(self.loss) <= set(LossConfig().terms),
            "The weights of the loss must be numbers by the names of its terms.",
        )

    @classmethod
    def of(cls, config: Config, checkpoint: str, steps_per_epoch: int | None) -> "Training":
        """Return that of a checkpoint by its name; without the volumes of the run the number of
        epochs is not known."""
        digits = re.search(r"\d+$", checkpoint)
        steps = int(digits[0]) if digits else 0
        return cls(
            steps=steps,
            epochs=round(steps / steps_per_epoch, 2) if steps_per_epoch else 0.0,
            pairs_per_step=config.batch.global_size,
            learning_rate=config.optimizer.learning_rate,
            discriminator_learning_rate=config.optimizer.discriminator_learning_rate,
            learning_rate_schedule=config.optimizer.schedule,
            loss=config.loss.effective_weights,
            is_spectral=config.discriminator.spectral,
            ema_decay=config.train.ema_decay,
        )

    def __str__(self) -> str:
        if not self.pairs_per_step:
            return "a length that was not recorded"
        epochs = f" ({self.epochs:.3g} epochs)" if self.epochs else ""
        return f"{self.steps:,} step{'s' * (self.steps != 1)}{epochs}"


def seen_line(scans: SeenScans, training: Training | None = None) -> str:
    """Return one line that says what a model was trained on, and for how long, if that is known."""
    is_known = training is not None and training.pairs_per_step
    return f"Trained on {scans}" + (f"; {training}" if is_known else "")
