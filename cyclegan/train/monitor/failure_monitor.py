"""Signs that a run goes wrong while its losses look well, and what to try then.

`Watch` reads the means of what `engine.diagnostics` measured between two log lines.
"""

from collections.abc import Mapping
from typing import Literal

TOO_RIGHT = 0.98
"""Share of patches that a critic judges rightly, from which on it no longer teaches."""
TOO_FLAT = 0.1
"""Spread of synthetic images relative to that of real ones, below which they say nothing."""
TOO_ALIKE = 0.25
"""Correlation of MRI and synthetic CT near the surface, from which on fat passes for bone."""
TOO_BRIGHT = 0.5
"""Brightness of the MRI where its synthetic CT has bone, in standard deviations, likewise. Both
bounds lie between the runs that were lost and those that were not in `docs/recipe.md`."""
NO_EDGES = 0.05
"""Correlation of edges, below which a synthetic CT has lost the anatomy of its MRI."""
PATIENCE = 3
"""Log lines in a row that show a sign before it is told: a GAN swings."""


class Watch:
    """Reads the means of each log line and says, once each, what has been wrong for a while."""

    def __init__(self, mri_contrast: Literal["plain", "inverted"]) -> None:
        self.bone_is_dark = mri_contrast == "plain"
        self.seen: dict[str, int] = {}

    def read(self, means: Mapping[str, float]) -> list[str]:
        """What to tell the user now; mostly nothing."""
        told = []
        for sign, (shows, text) in self.judged(means).items():
            self.seen[sign] = self.seen.get(sign, 0) + 1 if shows else 0
            if self.seen[sign] == PATIENCE:
                told.append(text)
        return told

    def judged(self, means: Mapping[str, float]) -> dict[str, tuple[bool, str]]:
        """Whether each sign shows in these means, and its words."""
        found: dict[str, tuple[bool, str]] = {}
        for domain in ("mri", "ct"):
            if (right := means.get(f"accuracy/critic_{domain}")) is not None:
                found[f"critic_{domain}"] = (
                    right > TOO_RIGHT,
                    f"the {domain.upper()} critic is right on {right:.0%} of its patches, so the "
                    "translators learn nothing from it. Try --critic.spectral, a smaller "
                    "--optimizer.critic-learning-rate, or --optimizer.critic-every-steps 2.",
                )
            if (spread := means.get(f"watch/spread_{domain}")) is not None:
                found[f"spread_{domain}"] = (
                    spread < TOO_FLAT,
                    f"synthetic {domain.upper()}s are nearly flat (spread {spread:.2f} of real "
                    "ones): the translators have collapsed. Try smaller learning rates, "
                    "a larger --loss.cycle.weight, or another --run.seed.",
                )
        if (likeness := means.get("watch/edges")) is not None:
            found["edges"] = (
                likeness < NO_EDGES,
                f"edges of synthetic CTs do not lie where the MRI has them (correlation "
                f"{likeness:.2f}): anatomy is lost. Try a larger --loss.cycle.weight or "
                "--data.partner position.",
            )
        wrong = 1 if self.bone_is_dark else -1
        bone, surface = (wrong * means.get(f"watch/{name}", 0.0) for name in ("bone", "surface"))
        found["lock_in"] = (
            bone > TOO_BRIGHT or surface > TOO_ALIKE,
            "contrast lock-in: bone of synthetic CTs lies where the MRI is "
            f"{'bright' if self.bone_is_dark else 'shown dark, that is bright fat'} "
            f"({wrong * bone:+.1f} standard deviations from the body's mean; near the surface MRI "
            f"and synthetic CT correlate by {wrong * surface:+.2f}): fat has taken the place of "
            "bone, and the losses do not see it. Try --data.mri-contrast inverted "
            "in a new run; this one may turn round late, or never.",
        )
        return found
