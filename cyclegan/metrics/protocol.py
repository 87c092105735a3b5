"""Challenges whose definitions of PSNR and SSIM are implemented."""

from dataclasses import dataclass
from typing import Literal

from mrct.imaging.hounsfield import SYNTHRAD2023_WINDOW_HU, WINDOW_HU

ProtocolName = Literal["synthrad2025", "synthrad2023"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """Definition of PSNR and SSIM by a challenge."""

    window_hu: tuple[float, float]
    """Window in HU that both CTs are clipped to."""
    multiscale: bool
    """Whether the challenge uses multi-scale SSIM beside SSIM."""

    @property
    def range_hu(self) -> float:
        """The peak of PSNR and the dynamic range of SSIM."""
        return self.window_hu[1] - self.window_hu[0]


PROTOCOLS: dict[ProtocolName, Protocol] = {
    "synthrad2025": Protocol(window_hu=WINDOW_HU, multiscale=True),
    "synthrad2023": Protocol(window_hu=SYNTHRAD2023_WINDOW_HU, multiscale=False),
}
SYNTHRAD2025 = PROTOCOLS["synthrad2025"]
