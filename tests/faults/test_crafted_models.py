"""A crafted `generator.pt2` runs code in torch, and none through this project."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cyclegan.config.config import GeneratorConfig
from cyclegan.errors import ModelError
from cyclegan.export.formats import FILES, open_format, write_formats
from cyclegan.nets.generator import Generator

SETTINGS = GeneratorConfig(filters=4, blocks=1)


class Marked:
    """Makes a folder as soon as it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    network = Generator(in_channels=1, filters=4, blocks=1, upsample=SETTINGS.upsample)
    write_formats(network, 1, folder)
    return folder


def rewritten(
    source: Path, target: Path, change: Callable[[str, bytes], bytes], **more: bytes
) -> None:
    """Copy an archive with some parts changed and others added."""
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        for name in before.namelist():
            after.writestr(name, change(name, before.read(name)))
        root = before.namelist()[0].partition("/")[0]
        for name, content in more.items():
            after.writestr(f"{root}/{name}", content)


def pickled(folder: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Marked(folder), buffer)
    return buffer.getvalue()


def test_an_exported_file_holds_no_pickle_and_opens(written):
    with zipfile.ZipFile(written / FILES["pt2"]) as archive:
        inputs = [info for info in archive.infolist() if "sample_inputs" in info.filename]
        assert [info.file_size for info in inputs] == [0]
        for name in archive.namelist():
            assert not archive.read(name).startswith((b"PK", b"\x80\x02", b"\x80\x04")), name

    network = open_format("pt2", written, 1, SETTINGS)

    assert network(torch.zeros(1, 1, 32, 32)).shape == (1, 1, 32, 32)


def test_code_in_the_sample_inputs_runs_in_torch_and_not_here(written, tmp_path):
    mark = tmp_path / "ran"

    def change(name: str, content: bytes) -> bytes:
        return pickled(mark) if "sample_inputs" in name else content

    rewritten(written / FILES["pt2"], tmp_path / FILES["pt2"], change)

    with pytest.raises(ModelError, match=r"sample_inputs.*run code"):
        open_format("pt2", tmp_path, 1, SETTINGS)
    assert not mark.exists()
    with pytest.raises(Exception, match=r".*"):
        torch.export.load(tmp_path / FILES["pt2"])
    assert mark.exists(), "torch has become stricter: say so in the card"


def test_weights_that_are_pickles_are_refused(written, tmp_path):
    mark = tmp_path / "ran"

    def change(name: str, content: bytes) -> bytes:
        if name.endswith("weights_config.json"):
            config = json.loads(content)
            for payload in config["config"].values():
                payload["use_pickle"] = True
            return json.dumps(config).encode()
        return pickled(mark) if "/weights/" in name else content

    rewritten(written / FILES["pt2"], tmp_path / FILES["pt2"], change)

    with pytest.raises(ModelError, match="run code"):
        open_format("pt2", tmp_path, 1, SETTINGS)
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["data/aotinductor/model/a.wrapper.so", "models/other.json", "extra/x", "data.pkl"]
)
def test_parts_that_this_project_does_not_write_are_refused(written, tmp_path, name):
    rewritten(written / FILES["pt2"], tmp_path / FILES["pt2"], lambda _, c: c, **{name: b"{}"})

    with pytest.raises(ModelError, match=name):
        open_format("pt2", tmp_path, 1, SETTINGS)


@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_a_graph_of_other_inputs_than_described_is_refused(form, written):
    """Such as a description of neighbours or conditions beside a graph that has none."""
    assert open_format(form, written, 1, SETTINGS)(torch.zeros(1, 1, 32, 32)).shape[2:] == (32, 32)
    with pytest.raises(ModelError, match=rf"{FILES[form]} is not the network that model\.json"):
        open_format(form, written, 3, SETTINGS)


@pytest.mark.parametrize("content", [b"", b"x" * 99])
def test_a_file_that_is_no_graph_is_refused(content, tmp_path):
    (tmp_path / FILES["onnx"]).write_bytes(content)

    with pytest.raises(ModelError, match=FILES["onnx"]):
        open_format("onnx", tmp_path, 1, SETTINGS)


@pytest.mark.parametrize("content", [b"", b"PK", pickle.dumps({})])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / FILES["pt2"]).write_bytes(content)

    with pytest.raises(ModelError, match=r"is no file of torch\.export"):
        open_format("pt2", tmp_path, 1, SETTINGS)
