"""Roofline of `default` on an H200: what arithmetic and memory allow a training step.

Without the guide, which adds a hundredth to the arithmetic of a pair. Nothing is run. One image of
256 x 256 goes through one generator, forward and backward, in bf16. Counted are the FLOP of its
convolutions, and the bytes that it moves between the GPU and its memory: `ideal`, if each
convolution reads its inputs and writes its outputs and nothing else moves; `fused`, with the
kernels that torch.compile makes between convolutions; `eager`, with a kernel for each operator.

python -m benchmarks.roofline [--write]
"""

import argparse
from dataclasses import dataclass, replace

from benchmarks.pages import markdown, write_block
from cluster.plan.assumptions import Assumptions
from cluster.plan.flops import ComputeCost, compute_cost_of
from cluster.plan.gpus import GPUS
from cluster.plan.launches import launches_per_part
from cyclegan.config.config import Config
from cyclegan.config.presets import default

PAGE, BLOCK = "scaling.md", "roofline"
SIDE = 256
PEAK_FLOP, PEAK_BYTES = GPUS["h200"].tflops * 1e12, 4.8e12
"""Per second, by the data sheet."""
USUAL_FLOP, USUAL_BYTES = 788e12, 4.3e12
"""What large convolutions and plain copies usually sustain."""
BF16_BYTES, FP32_BYTES = 2, 4
IMAGES_OF_A_PAIR = 6
"""Passes of a pair through the generators."""
ADAM_ACCESSES, MEAN_ACCESSES = 7, 3
"""Adam reads a weight, its gradient and two moments, and writes all but the gradient; the moving
average reads itself and the weight, and writes itself."""
BATCHES = (1, 2, 8, 32)
UNGUIDED = replace(default(), generator=replace(default().generator, guide="none"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Accesses:
    """How often kernels between convolutions read or write an image's features, there and back.

    In the backward pass a norm and its activation are two kernels in either case: sums over the
    gradient and the features, and the gradient of the features from both.
    """

    output: int
    """Of a normalised convolution's output."""
    gradient: int
    """Of the gradient of its input, in which padding and upsampling are folded back."""
    input: int
    """Of its input besides."""
    skip: int
    """Of a residual block's output, besides the two convolutions."""


IDEAL = Accesses(output=0, gradient=0, input=0, skip=0)
# Forward: statistics 1, normalise 2. Backward: sums 1 (and the gradient), gradient 3.
FUSED = Accesses(output=7, gradient=1, input=0, skip=3)
TWO_PASSES = Accesses(output=8, gradient=1, input=0, skip=3)
"""`fused`, with a pass over the features for the mean and one for the variance."""
# Forward: norm 3, activation 2; backward: activation 3, norm 5. Padding and upsampling: written
# forward, and read backward; the sources are counted as accesses of their size.
EAGER = Accesses(output=13, gradient=2, input=2, skip=6)


@dataclass(frozen=True, kw_only=True, slots=True)
class Layers:
    """Equal convolutions of the generator; sides are those of the padded input and the output."""

    name: str
    count: int = 1
    channels: tuple[int, int]
    """Of the input and of the output."""
    sides: tuple[int, int]
    kernel: int
    is_first: bool = False
    """An image needs no gradient."""
    is_normed: bool = True
    is_padded: bool = True
    """Its input is padded, or enlarged and padded, by a kernel of its own when eager."""
    is_residual: bool = False

    @property
    def flop(self) -> float:
        """Of the forward pass, for the gradient of the weights, and for that of the input."""
        inner = self.channels[0] * self.kernel**2
        once = 2 * self.sides[1] ** 2 * self.channels[1] * inner
        return self.count * once * (2 if self.is_first else 3)

    def bytes_of(self, accesses: Accesses) -> float:
        """Bytes that convolutions and what is between them read and write."""
        x, y = (
            BF16_BYTES * channels * side**2
            for channels, side in zip(self.channels, self.sides, strict=True)
        )
        moved = (2 if self.is_first else 3) * (x + y)
        moved += self.is_normed * accesses.output * y
        moved += (not self.is_first) * accesses.gradient * x
        moved += self.is_padded * accesses.input * x
        if self.is_residual:  # a skip for every second convolution, which even `ideal` has to read
            moved += (1 + accesses.skip) * y / 2
        return self.count * moved


def layers_of(config: Config) -> list[Layers]:
    """The generator's convolutions on slices of SIDE, as `cyclegan.nets.generator` builds them."""
    f, half, quarter = config.generator.filters, SIDE // 2, SIDE // 4
    channels = config.data.channels + config.data.num_conditions
    return [
        Layers(name="c7s1-64", channels=(channels, f), sides=(SIDE + 6, SIDE), kernel=7,
               is_first=True),
        Layers(name="d128", channels=(f, 2 * f), sides=(SIDE, half), kernel=3, is_padded=False),
        Layers(name="d256", channels=(2 * f, 4 * f), sides=(half, quarter), kernel=3,
               is_padded=False),
        Layers(name="18 residual convolutions", count=2 * config.generator.blocks,
               channels=(4 * f, 4 * f), sides=(quarter + 2, quarter), kernel=3, is_residual=True),
        Layers(name="u128", channels=(4 * f, 2 * f), sides=(half + 2, half), kernel=3),
        Layers(name="u64", channels=(2 * f, f), sides=(SIDE + 2, SIDE), kernel=3),
        Layers(name="c7s1-1", channels=(f, 1), sides=(SIDE + 6, SIDE), kernel=7, is_normed=False),
    ]  # fmt: skip


def moved_bytes(layers: list[Layers], accesses: Accesses) -> float:
    """Bytes of one image through one generator."""
    return sum(each.bytes_of(accesses) for each in layers)


def pairs_per_s(
    config: Config, work: ComputeCost, accesses: Accesses, pairs: int, flop_per_s: float
) -> float:
    """Convolutions at a rate, then all other bytes, one after the other; then the optimizers.

    Left out are the bytes of the discriminators, the losses and the conditions.
    """
    layers = layers_of(config)
    between = moved_bytes(layers, accesses) - moved_bytes(layers, IDEAL)
    pair_s = work.flop_per_pair / flop_per_s + IMAGES_OF_A_PAIR * between / USUAL_BYTES
    optimizer_bytes = (
        ADAM_ACCESSES * (work.generator_bytes + work.discriminator_bytes)
        + MEAN_ACCESSES * work.generator_bytes
    )
    return pairs / (pairs * pair_s + optimizer_bytes / USUAL_BYTES)


def layer_table(layers: list[Layers]) -> str:
    """FLOP and bytes by layer, and the time that they take at usual rates."""
    rows = []
    groups = [(each.name, [each]) for each in layers] + [("**sum**", layers)]
    for name, group in groups:
        flop = sum(each.flop for each in group)
        fused = moved_bytes(group, FUSED)
        numbers = [flop / 1e9, *(moved_bytes(group, each) / 1e6 for each in (EAGER, FUSED, IDEAL))]
        numbers += [1e6 * flop / USUAL_FLOP, 1e6 * fused / USUAL_BYTES]
        rows.append([name, *(f"{x:.1f}" if x < 10 else f"{x:,.0f}" for x in numbers)])
    header = [
        "layer", "GFLOP", "MB eager", "MB fused", "MB ideal",
        f"µs at {USUAL_FLOP / 1e12:.0f} TFLOP/s", f"µs of fused at {USUAL_BYTES / 1e12} TB/s",
    ]  # fmt: skip
    return markdown(header, rows)


def span(low: float, high: float) -> str:
    """Two numbers, or one if they are the same."""
    return f"{low:,.0f} to {high:,.0f}" if high > low else f"{high:,.0f}"


def rate_table(config: Config, work: ComputeCost) -> str:
    """Pairs/s by the pairs of a GPU in a step: bounds, and what is left of them."""
    flop_bound = PEAK_FLOP / work.flop_per_pair
    launch_s = 1e-6 * Assumptions().launch_us * launches_per_part(config)
    rows = []
    for pairs in BATCHES:
        rates = [
            pairs_per_s(config, work, accesses, pairs, share * PEAK_FLOP)
            for accesses, share in ((EAGER, 0.8), (FUSED, 0.8), (FUSED, 0.65))
        ]
        host = pairs / launch_s
        low, high = sorted(min(host, rate) for rate in rates[1:])
        numbers = (f"{each:,.0f}" for each in (flop_bound, *rates, host))
        shares = (100 * each / flop_bound for each in (low, high))
        rows.append([f"{pairs}", *numbers, span(low, high), f"{span(*shares)} %"])
    header = [
        "pairs of a GPU", "FLOP alone", "eager, 80 % of peak", "fused, 80 %", "fused, 65 %",
        "the host's launches", "expected, fused", "of the peak",
    ]  # fmt: skip
    return markdown(header, rows)


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"into docs/{PAGE}")
    work = compute_cost_of(UNGUIDED, (SIDE, SIDE))
    tables = f"{layer_table(layers_of(UNGUIDED))}\n\n{rate_table(UNGUIDED, work)}"
    if parser.parse_args().write:
        write_block(PAGE, BLOCK, tables)
    print(tables)


if __name__ == "__main__":
    main()
