"""The discriminator judges 70 x 70 patches, and spectral norm holds it to a slope of one."""

import torch
from torch.overrides import TorchFunctionMode

from cyclegan.nets.discriminator import DISCRIMINATOR_PARAMETERS_OF_REFERENCE, Discriminator


def test_the_reference_has_the_published_number_of_parameters():
    assert (
        sum(p.numel() for p in Discriminator().parameters())
        == DISCRIMINATOR_PARAMETERS_OF_REFERENCE
    )


def test_a_slice_of_256_gets_30_by_30_scores():
    assert Discriminator(filters=4)(torch.zeros(1, 1, 256, 256)).shape == (1, 1, 30, 30)


def test_one_score_sees_70_by_70_pixels():
    discriminator = Discriminator(
        filters=4, norm="none"
    )  # InstanceNorm would let a score see the whole slice
    image = torch.rand(1, 1, 256, 256, requires_grad=True)

    discriminator(image)[0, 0, 15, 15].backward()

    seen = image.grad[0, 0].abs() > 0
    assert seen.any(0).sum() == seen.any(1).sum() == 70


def test_a_second_scale_judges_the_halved_image_on_the_grid_of_the_first():
    discriminator = Discriminator(filters=4, norm="instance", scales=2)
    image = torch.rand(2, 1, 96, 96)

    fine, coarse = discriminator(image).unbind(1)

    torch.testing.assert_close(fine, discriminator.layers(image)[:, 0])
    halved = torch.nn.functional.avg_pool2d(image, 2)
    alone = discriminator.coarser[0](halved)[:, 0]
    assert coarse.shape == fine.shape == (2, 10, 10)
    assert alone.shape == (2, 4, 4)
    assert set(coarse.flatten().tolist()) == set(alone.flatten().tolist())


def test_spectral_norm_holds_at_every_scale():
    discriminator = Discriminator(filters=4, norm="none", spectral=True, scales=3)

    normed = [name for name, _ in discriminator.named_buffers() if name.endswith("_u")]

    assert len(normed) == 15


def test_spectral_norm_converges_to_a_largest_singular_value_of_one():
    discriminator = Discriminator(filters=8, norm="none", spectral=True).train()
    for _ in range(60):
        discriminator(torch.zeros(1, 1, 64, 64))

    for layer in discriminator.eval().layers:
        if isinstance(layer, torch.nn.Conv2d):
            singular = torch.linalg.svdvals(layer.weight.flatten(1))
            torch.testing.assert_close(singular[0], torch.tensor(1.0), rtol=2e-2, atol=0)


def test_a_judging_discriminator_keeps_its_vectors_and_a_learning_one_moves_them():
    discriminator = Discriminator(filters=4, norm="none", spectral=True)
    image = torch.rand(1, 1, 64, 64)

    def vectors() -> torch.Tensor:
        return torch.cat([b.flatten() for b in discriminator.buffers()]).clone()

    before = vectors()
    discriminator.eval()(image)
    judged = vectors()
    discriminator.train()(image)

    torch.testing.assert_close(judged, before, rtol=0, atol=0)
    assert not torch.equal(vectors(), before)


class WatchProducts(TorchFunctionMode):
    """Notes of each matrix-vector product whether autocast was on, and its type."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[bool, torch.dtype]] = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func in (torch.mv, torch.vdot):
            self.seen.add((torch.is_autocast_enabled("cpu"), result.dtype))
        return result


def test_autocast_does_not_reach_spectral_norm():
    """A CPU's autocast would let its products be, a GPU's runs them in half precision."""
    discriminator = Discriminator(filters=4, norm="none", spectral=True)

    with WatchProducts() as products, torch.autocast("cpu", torch.bfloat16):
        logits = discriminator.layers(torch.rand(1, 1, 64, 64))

    assert logits.dtype == torch.bfloat16  # the convolutions are under autocast
    assert products.seen == {(False, torch.float32)}
