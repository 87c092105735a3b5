"""Names of the challenges whose definitions of PSNR and SSIM are implemented."""

from typing import Literal

ProtocolName = Literal["synthrad2025", "synthrad2023"]
