"""The two kinds of image, named alike in settings, files and code."""

from typing import Literal, get_args

Modality = Literal["mri", "ct"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
