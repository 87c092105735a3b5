"""Signals, noise and CT numbers are those of physics and of patients."""

import numpy as np
import pytest
from scipy import ndimage

from data_prep.phantom.scanner import (
    CtScan,
    MriScan,
    acquire_ct,
    acquire_mri,
    rician,
    spin_echo,
    spoiled_gradient_echo,
)
from data_prep.phantom.tissue import Tissue
from tests.support.heads import pure, rng


def test_the_signal_equation_is_the_steady_state_of_its_pulses():
    t1_ms, tr_ms, flip = 800.0, 20.0, np.deg2rad(25)
    upright = 1.0
    for _ in range(2000):  # Bloch: tip, spoil what is transverse, recover
        transverse = upright * np.sin(flip)
        upright = 1 + (upright * np.cos(flip) - 1) * np.exp(-tr_ms / t1_ms)

    signal = spoiled_gradient_echo(t1_ms, 50.0, 0.8, tr_ms=tr_ms, te_ms=5, flip_deg=25)

    assert signal == pytest.approx(0.8 * transverse * np.exp(-5 / 50), rel=1e-9)


def test_the_signal_is_largest_at_the_ernst_angle():
    angles = np.linspace(1, 60, 5901)
    signals = [
        float(spoiled_gradient_echo(600, 50, 1, tr_ms=20, te_ms=5, flip_deg=a)) for a in angles
    ]

    assert angles[np.argmax(signals)] == pytest.approx(
        np.rad2deg(np.arccos(np.exp(-20 / 600))), 1e-3
    )


def test_noise_without_signal_is_rayleigh_and_with_much_signal_normal():
    air = rician(np.zeros((40, 50, 50), np.float32), 3.0, rng())
    tissue = rician(np.full((40, 50, 50), 300, np.float32), 3.0, rng())

    assert air.mean() == pytest.approx(3 * np.sqrt(np.pi / 2), rel=0.01)
    assert air.std() == pytest.approx(3 * np.sqrt(2 - np.pi / 2), rel=0.01)
    assert tissue.mean() == pytest.approx(np.hypot(300, 3), rel=1e-3)
    assert tissue.std() == pytest.approx(3, rel=0.02)


def test_t1_contrast_ranks_tissues_as_in_patients(head, grid):
    mri = acquire_mri(head, grid, MriScan(bias=0, snr=200), rng())
    brightness = [
        np.median(mri[pure(head, tissue)])
        for tissue in (Tissue.FAT, Tissue.WHITE, Tissue.GREY, Tissue.CSF, Tissue.BONE, Tissue.AIR)
    ]

    assert brightness == sorted(brightness, reverse=True)
    assert brightness[0] > 1.4 * brightness[1], "scalp fat is the brightest: the known trap"
    assert brightness[4] < 0.25 * brightness[1], "bone is dark"


def test_t2_contrast_ranks_tissues_as_in_patients(head, grid):
    mri = acquire_mri(head, grid, MriScan(bias=0, snr=200, weighting="t2"), rng())
    brightness = [
        np.median(mri[pure(head, tissue)])
        for tissue in (Tissue.CSF, Tissue.GREY, Tissue.WHITE, Tissue.MUSCLE, Tissue.BONE)
    ]

    assert brightness == sorted(brightness, reverse=True)
    assert brightness[0] > 2 * brightness[1], "fluid is the brightest"


def test_the_spin_echo_recovers_by_t1_and_decays_by_t2():
    signal = spin_echo(800.0, 80.0, 0.7, tr_ms=800 * np.log(2), te_ms=80 * np.log(4))

    assert signal == pytest.approx(0.7 / 2 / 4)


@pytest.mark.parametrize(
    ("tissue", "low_hu", "high_hu"),
    [
        (Tissue.AIR, -1010, -990),
        (Tissue.FAT, -120, -80),
        (Tissue.CSF, 0, 15),
        (Tissue.WHITE, 20, 34),
        (Tissue.GREY, 30, 45),
        (Tissue.MUSCLE, 40, 70),
        (Tissue.MARROW, 250, 800),
        (Tissue.BONE, 800, 1900),
    ],
)
def test_ct_numbers_are_the_published_ones(head, grid, tissue, low_hu, high_hu):
    ct = acquire_ct(head, grid, CtScan(), rng())

    assert low_hu < np.median(ct[pure(head, tissue)]) < high_hu


def test_ct_noise_has_the_spread_it_was_given(head, grid):
    ct = acquire_ct(head, grid, CtScan(noise_hu=9), rng())

    assert ct[pure(head, Tissue.WHITE)].std() == pytest.approx(9, rel=0.1)


def test_the_head_holder_lies_behind_the_head_and_touches_it_nowhere(head, grid):
    bare, held = (
        acquire_ct(head, grid, CtScan(noise_hu=0, holder=holder), rng()) for holder in (False, True)
    )
    holder = held - bare > 100
    rows = np.flatnonzero(holder.any((0, 2)))
    skin = np.flatnonzero((bare > -500).any((0, 2)))

    assert holder.any()
    assert rows.min() < skin.min()
    assert not (ndimage.binary_dilation(holder) & (bare > -500)).any()
