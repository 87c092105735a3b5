"""Peak speeds of GPUs and links, from the manufacturers' data sheets."""

from dataclasses import dataclass
from typing import Literal

GpuKind = Literal["b200", "h200", "h100", "a100", "l40s", "l4", "a10g", "v100", "t4"]
GB = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuSpec:
    """One GPU and its link to the other GPUs of its machine."""

    tflops: float
    """Dense TFLOP/s of its matrix units: bf16, or fp16 without bf16."""
    memory_gb: float
    """Memory in GB; of the smaller kind where there are two."""
    link_gb_per_s: float
    """Link bandwidth in GB/s: NVLink in one direction, else PCIe."""
    per_node: int = 8
    """Usual number per machine."""


# Manufacturers' data sheets, dense figures: half of those "with sparsity".
GPUS: dict[GpuKind, GpuSpec] = {
    "b200": GpuSpec(tflops=2250, memory_gb=180, link_gb_per_s=900),
    "h200": GpuSpec(tflops=989, memory_gb=141, link_gb_per_s=450),
    "h100": GpuSpec(tflops=989, memory_gb=80, link_gb_per_s=450),
    "a100": GpuSpec(tflops=312, memory_gb=40, link_gb_per_s=300),
    "l40s": GpuSpec(tflops=362, memory_gb=48, link_gb_per_s=32),
    "l4": GpuSpec(tflops=121, memory_gb=24, link_gb_per_s=32),
    "a10g": GpuSpec(tflops=70, memory_gb=24, link_gb_per_s=32),
    "v100": GpuSpec(tflops=125, memory_gb=16, link_gb_per_s=150),
    "t4": GpuSpec(tflops=65, memory_gb=16, link_gb_per_s=16),
}
