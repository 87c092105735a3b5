"""The roofline adds up, and agrees with an independent count of the same step."""

from functools import cache

import pytest

from benchmarks import roofline
from benchmarks.pages import block_of
from benchmarks.roofline import (
    EAGER,
    FUSED,
    IDEAL,
    TWO_PASSES,
    UNGUIDED,
    layers_of,
    moved_bytes,
)
from cluster.plan.flops import ComputeCost, compute_cost_of

LAYERS = layers_of(UNGUIDED)
LAST = LAYERS[-1]


@cache
def work() -> ComputeCost:
    return compute_cost_of(UNGUIDED, (roofline.SIDE, roofline.SIDE))


def test_a_layer_by_hand():
    d256 = LAYERS[2]
    x, y = 2 * 128 * 128 * 128, 2 * 256 * 64 * 64

    assert d256.flop == 3 * 2 * 64 * 64 * 256 * 128 * 9
    assert d256.bytes_of(IDEAL) == 3 * (x + y)
    assert d256.bytes_of(FUSED) == 3 * (x + y) + 7 * y + x


def test_the_layers_are_those_of_the_generator():
    """Forward alone, torch counts a third of the FLOP, or half of the first layer's."""
    forward = sum(each.flop / (2 if each.is_first else 3) for each in LAYERS)

    assert forward == pytest.approx(work().flop_per_translation, rel=1e-6)


def test_the_sums_are_those_of_a_count_by_hand():
    """It was made before the norm took one pass, and left out the last fold of padding."""
    left_out = LAST.bytes_of(FUSED) - LAST.bytes_of(IDEAL)

    assert sum(each.flop for each in LAYERS) / 1e9 == pytest.approx(337, abs=0.5)
    assert moved_bytes(LAYERS, IDEAL) / 1e6 == pytest.approx(468, abs=0.5)
    assert (moved_bytes(LAYERS, TWO_PASSES) - left_out) / 1e6 == pytest.approx(1124, abs=0.7)
    assert work().flop_per_pair / 1e12 == pytest.approx(2.13, abs=0.005)


@pytest.mark.parametrize(("accesses", "pairs_per_s"), [(IDEAL, 390), (TWO_PASSES, 287)])
def test_generators_alone_reach_the_pairs_that_were_counted_by_hand(accesses, pairs_per_s):
    flop = sum(each.flop for each in LAYERS)
    between = moved_bytes(LAYERS, accesses) - moved_bytes(LAYERS, IDEAL)
    image_s = flop / roofline.USUAL_FLOP + between / roofline.USUAL_BYTES

    assert 1 / (6 * image_s) == pytest.approx(pairs_per_s, rel=0.01)


def test_eager_moves_less_than_when_norms_converted_layouts():
    """Then it was 2,158 MB by hand: four more accesses of each norm's output and input fit it."""
    assert moved_bytes(LAYERS, FUSED) < moved_bytes(LAYERS, EAGER) < 2158e6


@pytest.mark.parametrize(("share", "by_hand"), [(0.8, 247), (0.65, 207)])
def test_a_step_of_8_pairs_is_at_most_a_fifth_faster_than_by_hand(share, by_hand):
    """There with 0.4 ms a pair for losses and conditions, which were not compiled."""
    found = roofline.pairs_per_s(UNGUIDED, work(), FUSED, 8, share * roofline.PEAK_FLOP)

    assert by_hand < found < 1.2 * by_hand


def test_the_page_has_the_tables():
    tables = f"{roofline.layer_table(LAYERS)}\n\n{roofline.rate_table(UNGUIDED, work())}"

    assert tables == block_of(roofline.PAGE, roofline.BLOCK), (
        "python -m benchmarks.roofline --write"
    )
