"""Batching the six passes changes nothing but the speed; channels go where they belong."""

import torch

from cyclegan.data.batch import middle_slice
from cyclegan.nets.discriminator import Discriminator
from cyclegan.nets.generator import Generator
from cyclegan.nets.network_pairs import Discriminators, Generators


def test_the_batched_forward_equals_six_separate_passes():
    to_ct, to_mri = Generator(filters=4, blocks=1), Generator(filters=4, blocks=1)
    mri, ct = torch.rand(2, 2, 1, 32, 32) * 2 - 1

    images = Generators(to_ct, to_mri)(mri, ct)

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


def test_each_discriminator_judges_its_own_domain():
    discriminators = Discriminators(Discriminator(filters=4), Discriminator(filters=4))
    mri, ct = torch.rand(2, 1, 1, 64, 64)

    mri_scores, ct_scores = discriminators(mri, ct)

    torch.testing.assert_close(mri_scores, discriminators.mri(mri))
    torch.testing.assert_close(ct_scores, discriminators.ct(ct))


class Brighter(Generator):
    """Adds one to the slice in the middle, and remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__(in_channels=5, filters=1, blocks=0)
        self.seen: list[torch.Tensor] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append(image)
        return middle_slice(image) + 1


def test_on_the_way_back_a_fake_is_its_own_neighbour_and_has_the_conditions_of_its_source():
    to_ct, to_mri = Brighter(), Brighter()
    # channels: depth, the slice below, the slice, the slice above, height
    mri, ct = torch.arange(10.0).view(2, 1, 5, 1, 1).expand(-1, -1, -1, 4, 4)

    images = Generators(to_ct, to_mri, neighbours=1)(mri, ct)

    assert to_mri.seen[1][0, :, 0, 0].tolist() == [0, 3, 3, 3, 4]
    assert images.fake_ct[0, :, 0, 0].tolist() == [0, 3, 4]
    assert images.fake_mri[0, :, 0, 0].tolist() == [5, 8, 9]
    assert images.returned_mri[0, :, 0, 0].tolist() == [4]


def test_a_discriminator_sees_no_neighbours():
    networks = Generators(Generator(filters=2), Generator(filters=2), neighbours=2)
    image = torch.arange(7.0).view(1, 7, 1, 1)  # depth, five slices, height

    assert networks.as_judged(image, middle_slice(image)).flatten().tolist() == [0, 3, 6]
