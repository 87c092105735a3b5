"""A generator of pytorch-CycleGAN-and-pix2pix gives here what it gave there."""

import pickle

import pytest
import torch
from torch import nn

from cyclegan.config.config import GeneratorConfig
from cyclegan.errors import ConfigError
from cyclegan.nets.generator import Generator
from cyclegan.train.checkpoint.torch_file import read_torch_file
from cyclegan.train.checkpoint.weight_source import read_source
from mrct.storage.local_path import LocalPath

BLOCKS = 9


class Block(nn.Module):
    """A residual block by Zhu 2017, under the names of that project."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.conv_block(features)


class TheirGenerator(nn.Module):
    """ResNet-9 of torch's own layers alone: a second implementation of the paper."""

    def __init__(self, images: int = 1) -> None:
        super().__init__()
        f = 8

        def normalised(convolution: nn.Module, channels: int) -> list[nn.Module]:
            return [convolution, nn.InstanceNorm2d(channels), nn.ReLU()]

        up = {"stride": 2, "padding": 1, "output_padding": 1}
        self.model = nn.Sequential(
            nn.ReflectionPad2d(3),
            *normalised(nn.Conv2d(images, f, 7), f),
            *normalised(nn.Conv2d(f, 2 * f, 3, stride=2, padding=1), 2 * f),
            *normalised(nn.Conv2d(2 * f, 4 * f, 3, stride=2, padding=1), 4 * f),
            *[Block(4 * f) for _ in range(BLOCKS)],
            *normalised(nn.ConvTranspose2d(4 * f, 2 * f, 3, **up), 2 * f),
            *normalised(nn.ConvTranspose2d(2 * f, f, 3, **up), f),
            nn.ReflectionPad2d(3),
            nn.Conv2d(f, images, 7),
            nn.Tanh(),
        )


def saved(folder, content) -> LocalPath:
    path = LocalPath(folder / "latest_net_G_A.pth")
    torch.save(content, path)
    return path


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_that_project_gives_the_same_images_here(tmp_path, zipped):
    torch.manual_seed(0)
    theirs = TheirGenerator().eval()
    path = LocalPath(tmp_path / "latest_net_G_A.pth")
    torch.save(theirs.state_dict(), path, _use_new_zipfile_serialization=zipped)

    tensors, settings = read_torch_file(path)

    assert read_source(str(path)).generators["to_ct"].mri_contrast == "plain"
    assert settings == GeneratorConfig(filters=8, blocks=BLOCKS, upsample="transposed")
    ours = Generator(filters=8, blocks=BLOCKS, upsample="transposed").eval()
    ours.load_state_dict(tensors)
    image = torch.rand(2, 1, 48, 64) * 2 - 1
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), theirs.model(image), rtol=0, atol=1e-5)


def test_statistics_that_old_files_have_are_left_out(tmp_path):
    content = TheirGenerator().state_dict()
    statistics = {
        "model.2.running_mean": torch.zeros(8),
        "model.2.num_batches_tracked": torch.ones(1),
    }

    tensors, _ = read_torch_file(saved(tmp_path, content | statistics))

    assert len(tensors) == len(content)


class Intruder:
    """An object whose unpickling would make a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self):
        import os

        return os.mkdir, (self.folder,)


def test_code_in_a_file_is_not_run(tmp_path):
    path = saved(tmp_path, {"model.1.weight": Intruder(str(tmp_path / "intruded"))})

    with pytest.raises(ConfigError, match=r"G_A\.pth.*torch cannot read it \(UnpicklingError"):
        read_torch_file(path)

    assert not (tmp_path / "intruded").exists()
    path.write_bytes(pickle.dumps(Intruder(str(tmp_path / "intruded"))))
    with pytest.raises(ConfigError, match="torch cannot read it"):
        read_torch_file(path)
    assert not (tmp_path / "intruded").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"PK\x03\x04", b"not a file of torch"])
def test_bytes_that_are_no_file_of_torch_are_refused(tmp_path, content):
    path = LocalPath(tmp_path / "a.pth")
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=r"a\.pth.*torch cannot read it.*latest_net_G_A\.pth"):
        read_torch_file(path)


def test_half_a_file_is_refused(tmp_path):
    path = saved(tmp_path, TheirGenerator().state_dict())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(ConfigError, match="torch cannot read it"):
        read_torch_file(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([1, 2], "more than the tensors of one network"),
        ({"state_dict": {"model.1.weight": torch.zeros(1)}}, "more than the tensors"),
        ({"epoch": torch.zeros(1)}, r"no layer model\.1\.weight"),
        ({"model.1.weight": torch.zeros(3)}, r"no layer model\.1\.weight"),
        (
            TheirGenerator().state_dict() | {"model.26.weight": torch.zeros(())},
            "last layer is no convolution",
        ),
        (TheirGenerator(images=3).state_dict(), "3 and 3 channels.*--input_nc 1"),
    ],
)
def test_what_is_no_generator_of_single_channel_images_is_refused(tmp_path, content, found):
    with pytest.raises(ConfigError, match=found):
        read_torch_file(saved(tmp_path, content))
