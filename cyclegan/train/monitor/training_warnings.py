"""Detection of failure modes that the losses do not show, with suggested remedies.

`TrainingWarnings` reads the means, between two log lines, of the measurements of
`engine.diagnostics`.
"""

from collections.abc import Mapping
from typing import Literal

MAX_DISCRIMINATOR_ACCURACY = 0.98
"""Share of patches a discriminator classifies correctly above which its gradient is no use."""
MIN_STD_RATIO = 0.1
"""Standard deviation of synthetic images relative to real ones below which they have collapsed."""
MAX_EDGE_CORRELATION = 0.25
"""Correlation of MRI and synthetic CT near the surface above which fat is translated to bone."""
MAX_MRI_BRIGHTNESS_AT_BONE = 0.5
"""MRI brightness at the synthetic CT's bone, in standard deviations from the body's mean, above
which fat is translated to bone. This bound and the one above separate the failed runs of
`docs/recipe.md` from the others."""
MIN_EDGE_CORRELATION = 0.05
"""Correlation of edges below which a synthetic CT has lost the anatomy of its MRI."""
PATIENCE = 3
"""Consecutive log lines with a sign before a warning: GAN metrics oscillate."""


class TrainingWarnings:
    """Reads the means of each log line, and returns each warning once."""

    def __init__(self, mri_contrast: Literal["plain", "inverted"]) -> None:
        self.bone_is_dark = mri_contrast == "plain"
        self.seen: dict[str, int] = {}

    def read(self, means: Mapping[str, float]) -> list[str]:
        """Return the warnings due at this log line; usually none.

        Args:
            means: Means since the last log line, by name; missing names are not judged.
        """
        entries = []
        for sign, (shows, text) in self.check_means(means).items():
            self.seen[sign] = self.seen.get(sign, 0) + 1 if shows else 0
            if self.seen[sign] == PATIENCE:
                entries.append(text)
        return entries

    def check_means(self, means: Mapping[str, float]) -> dict[str, tuple[bool, str]]:
        """Return, for each sign, whether it shows in these means, and its warning."""
        found: dict[str, tuple[bool, str]] = {}
        for domain in ("mri", "ct"):
            if (right := means.get(f"accuracy/discriminator_{domain}")) is not None:
                found[f"discriminator_{domain}"] = (
                    right > MAX_DISCRIMINATOR_ACCURACY,
                    f"The {domain.upper()} discriminator is right on {right:.0%} of its patches, "
                    "so the generators learn nothing from it. Try --discriminator.spectral, a "
                    "smaller --optimizer.discriminator-learning-rate, or "
                    "--optimizer.discriminator-every-steps 2.",
                )
            if (spread := means.get(f"watch/spread_{domain}")) is not None:
                found[f"spread_{domain}"] = (
                    spread < MIN_STD_RATIO,
                    f"Synthetic {domain.upper()}s are nearly constant (standard deviation "
                    f"{spread:.2f} of that of real ones): the generators have collapsed. Try "
                    "smaller learning rates, a larger --loss.cycle.weight, or another --run.seed.",
                )
        if (likeness := means.get("watch/edges")) is not None:
            found["edges"] = (
                likeness < MIN_EDGE_CORRELATION,
                "Edges of synthetic CTs do not lie where the MRI has edges (correlation "
                f"{likeness:.2f}): anatomy is lost. Try a larger --loss.cycle.weight or "
                "--data.partner position.",
            )
        wrong = 1 if self.bone_is_dark else -1
        bone, surface = (wrong * means.get(f"watch/{name}", 0.0) for name in ("bone", "surface"))
        found["lock_in"] = (
            bone > MAX_MRI_BRIGHTNESS_AT_BONE or surface > MAX_EDGE_CORRELATION,
            "Signs of contrast lock-in: bone of synthetic CTs lies where the MRI is "
            f"{'bright' if self.bone_is_dark else 'shown dark, that is, at bright fat'} "
            f"({wrong * bone:+.1f} standard deviations from the body's mean; near the surface, MRI "
            f"and synthetic CT have a correlation of {wrong * surface:+.2f}): fat is translated to "
            "bone, and the losses do not show it. Try --data.mri-contrast inverted "
            "in a new run; this one may recover late, or never.",
        )
        return found
