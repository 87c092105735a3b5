"""Batching the six passes changes nothing but the speed."""

import torch

from cyclegan.nets.critic import Critic
from cyclegan.nets.generator import Generator
from cyclegan.nets.pairs import Critics, Translators


def test_the_batched_forward_equals_six_separate_passes():
    to_ct, to_mri = Generator(filters=4, blocks=1), Generator(filters=4, blocks=1)
    mri, ct = torch.rand(2, 2, 1, 32, 32) * 2 - 1

    images = Translators(to_ct, to_mri)(mri, ct)

    expected = {
        "fake_ct": to_ct(mri),
        "fake_mri": to_mri(ct),
        "same_ct": to_ct(ct),
        "same_mri": to_mri(mri),
        "returned_mri": to_mri(to_ct(mri)),
        "returned_ct": to_ct(to_mri(ct)),
    }
    for name, image in expected.items():
        torch.testing.assert_close(getattr(images, name), image, rtol=1e-4, atol=1e-5)


def test_each_critic_judges_its_own_domain():
    critics = Critics(Critic(filters=4), Critic(filters=4))
    mri, ct = torch.rand(2, 1, 1, 64, 64)

    mri_scores, ct_scores = critics(mri, ct)

    torch.testing.assert_close(mri_scores, critics.mri(mri))
    torch.testing.assert_close(ct_scores, critics.ct(ct))
