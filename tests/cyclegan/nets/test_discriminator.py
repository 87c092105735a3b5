"""The critic judges 70 x 70 patches, and spectral norm holds it to a slope of one."""

import torch

from cyclegan.nets.discriminator import CRITIC_PARAMETERS_OF_REFERENCE, Critic


def test_the_reference_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in Critic().parameters()) == CRITIC_PARAMETERS_OF_REFERENCE


def test_a_slice_of_256_gets_30_by_30_scores():
    assert Critic(filters=4)(torch.zeros(1, 1, 256, 256)).shape == (1, 1, 30, 30)


def test_one_score_sees_70_by_70_pixels():
    critic = Critic(filters=4, norm="none")  # InstanceNorm would let a score see the whole slice
    image = torch.rand(1, 1, 256, 256, requires_grad=True)

    critic(image)[0, 0, 15, 15].backward()

    seen = image.grad[0, 0].abs() > 0
    assert seen.any(0).sum() == seen.any(1).sum() == 70


def test_a_second_scale_judges_the_halved_image_on_the_grid_of_the_first():
    critic = Critic(filters=4, norm="instance", scales=2)
    image = torch.rand(2, 1, 96, 96)

    fine, coarse = critic(image).unbind(1)

    torch.testing.assert_close(fine, critic.layers(image)[:, 0])
    halved = torch.nn.functional.avg_pool2d(image, 2)
    alone = critic.coarser[0](halved)[:, 0]
    assert coarse.shape == fine.shape == (2, 10, 10)
    assert alone.shape == (2, 4, 4)
    assert set(coarse.flatten().tolist()) == set(alone.flatten().tolist())


def test_spectral_norm_holds_at_every_scale():
    critic = Critic(filters=4, norm="none", spectral=True, scales=3)

    normed = [name for name, _ in critic.named_buffers() if name.endswith("_u")]

    assert len(normed) == 15


def test_spectral_norm_converges_to_a_largest_singular_value_of_one():
    critic = Critic(filters=8, norm="none", spectral=True).train()
    for _ in range(60):
        critic(torch.zeros(1, 1, 64, 64))

    for layer in critic.eval().layers:
        if isinstance(layer, torch.nn.Conv2d):
            singular = torch.linalg.svdvals(layer.weight.flatten(1))
            torch.testing.assert_close(singular[0], torch.tensor(1.0), rtol=2e-2, atol=0)


def test_a_judging_critic_keeps_its_vectors_and_a_learning_one_moves_them():
    critic = Critic(filters=4, norm="none", spectral=True)
    image = torch.rand(1, 1, 64, 64)

    def vectors() -> torch.Tensor:
        return torch.cat([b.flatten() for b in critic.buffers()]).clone()

    before = vectors()
    critic.eval()(image)
    judged = vectors()
    critic.train()(image)

    torch.testing.assert_close(judged, before, rtol=0, atol=0)
    assert not torch.equal(vectors(), before)
