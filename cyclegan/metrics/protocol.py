"""The names of the challenges whose definitions of PSNR and SSIM there are."""

from typing import Literal

ProtocolName = Literal["synthrad2025", "synthrad2023"]
