"""The training step on a GPU, eager, compiled and as one CUDA graph: time, launches, memory."""

import time

import torch

from benchmarks.on_gpu.bench import EMA_DECAY, LAYOUTS, Bench, Launches
from cyclegan.nets.generator import Generator
from cyclegan.nets.input_channels import with_conditions
from cyclegan.nets.network_pairs import Translated
from cyclegan.nets.population_loss import layer_quantiles, layers
from cyclegan.train.engine.compile import compiled_graphs
from cyclegan.train.engine.objective import generator_terms
from cyclegan.train.engine.step import run_step, step_numbers

PEAK_TFLOPS = 989
"""An H100's or H200's in dense bf16 (data sheet)."""
STEP_TFLOP = 2.13
"""Convolutions of one pair's step in the preset `default`, forward and backward."""
GENERATOR_GFLOP = 337.1
"""Of one image, there and back."""

MODALITIES = ("mri", "ct")

Measurements = tuple[str, Launches | None]
"""A line, and the kernels that took longest."""


def eager(bench: Bench, channels_last: str, pairs: int = 2) -> Measurements:
    """The step without compiling."""
    config = bench.config(pairs=pairs, compile="no", precision="bf16", channels_last=channels_last)
    stepper = bench.stepper(config)
    stepper.state.step = 1
    device_ms, host_ms = bench.milliseconds(stepper.plain_step)
    seen = bench.launches(stepper.plain_step)
    return (
        f"{device_ms:.1f} ms on the device, {host_ms:.1f} ms to launch, {seen.count} launches, "
        f"{1e3 * pairs / max(device_ms, host_ms):.0f} pairs/s"
    ), seen


def compiled(bench: Bench, pairs: int) -> Measurements:
    """The step with all networks compiled."""
    torch._dynamo.reset()
    config = bench.config(
        pairs=pairs,
        compile="no" if bench.small else "all",
        precision="bf16",
        channels_last="yes",
    )
    began = time.monotonic()
    stepper = bench.stepper(config)
    stepper.step()
    bench.sync()
    cold_s = time.monotonic() - began
    device_ms, host_ms = bench.milliseconds(stepper.plain_step)
    seen = bench.launches(stepper.plain_step)
    slower_ms = max(device_ms, host_ms)
    peak = 0 if bench.small else torch.cuda.max_memory_allocated() / 2**30
    return (
        f"{pairs} pairs: {device_ms:.1f} ms device, {host_ms:.1f} ms host, {seen.count} launches, "
        f"{1e3 * pairs / slower_ms:.0f} pairs/s, "
        f"MFU {100 * pairs * STEP_TFLOP / (slower_ms / 1e3) / PEAK_TFLOPS:.0f} %, "
        f"graphs {compiled_graphs()} of {stepper.engine.num_graphs[-1]}, peak {peak:.1f} GiB, "
        f"cold {cold_s:.0f} s"
    ), seen


def cuda_graph(bench: Bench, pairs: int = 2) -> str:
    """The whole eager step as one CUDA graph: what launches cost.

    Rates, weights and the replay plan are frozen, so it serves for timing only.
    """
    config = bench.config(
        pairs=pairs, compile="no", precision="bf16", channels_last="yes", pool_size=0
    )
    stepper = bench.stepper(config)
    state = stepper.state
    for optimizer in (state.generator_optimizer, state.discriminator_optimizer):
        optimizer.param_groups[0]["capturable"] = True
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            state.step = 1
            stepper.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    state.step = 1
    numbers = step_numbers(state.step, stepper.weights, EMA_DECAY, bench.device)
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        run_step(state, stepper.engine, stepper.batch, numbers)
    device_ms, host_ms = bench.milliseconds(graph.replay)
    return (
        f"{device_ms:.1f} ms device, {host_ms:.2f} ms host, eager kernels in a graph: "
        f"{1e3 * pairs / device_ms:.0f} pairs/s"
    )


def conditions_and_losses(bench: Bench, pairs: int = 2) -> str:
    """The parts of a step beside the networks, eager and compiled."""
    config = bench.config(pairs=pairs)
    batch = bench.batch(config)
    body, device, side = batch.mri_body, bench.device, bench.size
    height = torch.rand(pairs, device=device)
    image = torch.rand(pairs, 1, side, side, device=device)

    def made(channels: int) -> torch.Tensor:
        return torch.rand(pairs, channels, side, side, device=device).requires_grad_()

    images = Translated(
        **{f"fake_{modality}": made(3) for modality in MODALITIES},
        **{
            f"{kind}_{modality}": made(1)
            for kind in ("same", "returned")
            for modality in MODALITIES
        },
    )
    patches = side // 8 - 2
    judged = (pairs, 1, patches, patches)
    scores = tuple(torch.rand(judged, device=device, requires_grad=True) for _ in range(2))
    weights = config.loss.effective_weights
    fast_conditions = torch.compile(with_conditions, dynamic=False)
    fast_terms = torch.compile(generator_terms, dynamic=False)
    ways = {
        "conditions of one domain": lambda: with_conditions(image, body, height),
        "losses, there and back": lambda: generator_terms(batch, images, scores, weights)[
            "loss/generators"
        ].backward(),
        "a sort of population": lambda: layer_quantiles(image, layers(body)),
        "conditions, compiled": lambda: fast_conditions(image, body, height),
        "losses, compiled": lambda: fast_terms(batch, images, scores, weights)[
            "loss/generators"
        ].backward(),
    }
    entries = []
    for name, way in ways.items():
        device_ms, host_ms = bench.milliseconds(way)
        count = bench.launches(way).count
        entries.append(f"{name} {device_ms:.2f} ms device, {host_ms:.2f} ms host, {count} launches")
    return "; ".join(entries)


def generator(bench: Bench, channels_last: str, images: int = 16) -> Measurements:
    """One generator compiled, there and back."""
    torch._dynamo.reset()
    network = Generator(
        in_channels=3, filters=bench.filters, blocks=bench.blocks, upsample="resize"
    ).to(bench.device, memory_format=LAYOUTS[channels_last])
    run = network if bench.small else torch.compile(network, dynamic=False)
    given = torch.rand(images, 3, bench.size, bench.size, device=bench.device)

    def there_and_back() -> None:
        with torch.autocast(bench.device.type, torch.bfloat16):
            translated = run(given)
        translated.float().mean().backward()

    began = time.monotonic()
    there_and_back()
    bench.sync()
    cold_s = time.monotonic() - began
    device_ms, host_ms = bench.milliseconds(there_and_back)
    seen = bench.launches(there_and_back)
    tflops = 0 if bench.small else images * GENERATOR_GFLOP / device_ms
    return (
        f"{images} images there and back {device_ms:.1f} ms = {tflops:.0f} TFLOP/s "
        f"({100 * tflops / PEAK_TFLOPS:.0f} % of peak), {host_ms:.1f} ms to launch {seen.count}; "
        f"cold {cold_s:.0f} s"
    ), seen
