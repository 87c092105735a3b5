"""A model.json, settings and records that were crafted: no claim takes memory or time, or ends in a
traceback; the message names the file, what was found and what to do."""

import json
import math
import resource
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from safetensors.torch import load_file, save_file

from cyclegan.config.config import Config
from cyclegan.config.files import load_config, with_settings
from cyclegan.config.presets import smoke
from cyclegan.contrast import table_file
from cyclegan.contrast.table_file import SHAPE_OF_TABLE, TABLE_VERSION, parse_table
from cyclegan.errors import CheckpointError, ConfigError, ModelError, TableError
from cyclegan.export.formats import FILES
from cyclegan.export.metadata import INFO
from cyclegan.export.model_folder import SUMS, read_model, sums_of
from cyclegan.export.training_stats import SHARES, TrainedOn
from cyclegan.nets.generator import Generator
from cyclegan.train.checkpoint.checkpoint import load_generators, save_checkpoint
from cyclegan.train.checkpoint.folder import FILE_HASHES, verify_checkpoint
from cyclegan.train.checkpoint.run_record import read_environment
from cyclegan.train.engine.state import build_state
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.store.commits import read_commits
from data_prep.store.store import open_store
from data_prep.store.subject_record import SUBJECTS_FILE, read_subjects
from mrct.errors import StoreError, UsageError, UserError
from mrct.storage.local_path import LocalPath
from tests.support.models import publish_model
from tests.support.stores import make_store
from tune.search.event_log import EVENT_LOG, EventLog
from tune.search.settings import SETTINGS, load_settings

DEEP = "[" * 100_000
SMALL = {"in_channels": 1, "filters": 4, "blocks": 1}
GiB = 2**30

TEXTS = [b"", b"[]", b"null", b"7", b'"x"', b"{", b"\0", b"\xff\xfe{}", DEEP.encode(), b"9" * 5000]
TRAINING = {
    "steps": 3,
    "epochs": 1.0,
    "pairs_per_step": 1,
    "learning_rate": 1e-4,
    "learning_rate_schedule": "linear",
    "loss": {"cycle": 10.0},
    "is_spectral": True,
    "ema_decay": 0.9,
}
CLAIMS: list[tuple[str, Any]] = [
    *[("generator.filters", n) for n in (0, -1, 8, 10**6, 10**9, 2**63, 2**100, 1e308, "4e9")],
    *[("generator.blocks", n) for n in (-1, 0, 2, 10**6, 10**12, 10**400)],
    ("generator.upsample", "transposed"),
    *[("neighbours", n) for n in (-1, 1, 10**9)],
    *[("inputs", each) for each in ([], ["mri"] * 1000, "mri", [1], [["mri"]], {"mri": 1})],
    ("conditions", True),
    *[("preprocessing.spacing_mm", 3 * [mm]) for mm in (0, -1, 1e-300, 1e308, float("nan"))],
    ("preprocessing.spacing_mm", [1.0] * 4),
    *[
        ("preprocessing.size", each)
        for each in ([10**9] * 2, [33, 40], [-4, -4], [64], [2**70] * 2)
    ],
    ("preprocessing.version", 10**30),
    ("trained_on.volumes", -1),
    *[("seen.people", n) for n in (-1, 10**30, "two")],
    *[("seen.mri", each) for each in ({"\x1b[2J": 1}, {"T1w": -1}, {"T1w": 10**300}, ["T1w"], 7)],
    *[("training", each) for each in ({"steps": -1}, 7, TRAINING | {"loss": {"\x1b[2J": 1.0}})],
    ("training", TRAINING | {"learning_rate_schedule": "\x1b[2J"}),
    ("trained_on.shares", [10]),
    ("trained_on.shares", [*SHARES, 99]),
    ("trained_on.values_low", [0.0]),
    ("trained_on.values_high", [1e308] * 99),
    ("trained_on.planes", ["\x1b[2J"]),
    *[("run", name) for name in ("../../x", "a\nb", "x" * 10**6, "", 5)],
    ("checkpoint", "/etc/x"),
    ("config_hash", "\x1b[2J"),
    ("size_multiple", 1),
    ("orientation", "z down"),
    *[("schema_version", n) for n in (None, 3, 5, 10**100, "4", float("nan"))],
    ("direction", {"to_ct": 1}),
]


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """Address space for what files hold, and not for what they claim."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 4 * GiB, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    known = TrainedOn(volumes=2, values_low=(0.0,) * len(SHARES), values_high=(1.0,) * len(SHARES))
    return publish_model(
        tmp_path_factory.mktemp("m") / "model",
        Generator(**SMALL, upsample="resize"),
        PreprocessingSpec(spacing_mm=(6.0, 4.0, 4.0), size=(56, 56)),
        trained_on=known,
    )


@pytest.fixture
def model(published) -> Iterator[Path]:
    """The model, whose description and weights a test may replace."""
    before = {path: path.read_bytes() for path in published.iterdir()}
    assert read_model(published).info.direction == "to_ct"
    yield published
    for path, content in before.items():
        path.write_bytes(content)


def refused(folder: Path) -> str:
    """The message with which a model is refused, whose hashes are right."""
    (folder / SUMS).write_bytes(b"".join(sums_of(folder)))
    with pytest.raises(ModelError) as error:
        read_model(folder)
    message = str(error.value)
    assert str(folder) in message
    assert INFO in message
    assert "python -m cyclegan.export" in message
    assert "\x1b" not in message
    assert len(message) < 2000
    return message


@pytest.mark.parametrize("content", TEXTS, ids=range(len(TEXTS)))
def test_a_text_that_is_no_description_is_refused(model, content):
    (model / INFO).write_bytes(content)

    refused(model)


@pytest.mark.parametrize(("name", "claim"), CLAIMS, ids=[name for name, _ in CLAIMS])
def test_a_claim_that_the_weights_or_this_version_belie_is_refused(model, name, claim):
    values = inner = json.loads((model / INFO).read_text())
    *sections, key = name.split(".")
    for section in sections:
        inner = inner[section]
    inner[key] = claim
    (model / INFO).write_text(json.dumps(values))

    refused(model)


WEIGHTS = {
    "of another shape": lambda weights: weights | {"layers.1.weight": torch.zeros(4, 1, 7, 5)},
    "of another dtype": lambda weights: {name: each.double() for name, each in weights.items()},
    "not finite": lambda weights: {name: each * torch.nan for name, each in weights.items()},
    "one too many": lambda weights: weights | {"other": torch.zeros(1)},
    "none": lambda weights: {},
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_that_are_not_those_of_the_description_are_refused(model, kind):
    path = model / FILES["safetensors"]
    save_file(WEIGHTS[kind](load_file(path)), path)

    assert str(path) in refused(model)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\xff\xff\xff\x7f\0\0\0\0{", b"x" * 99])
def test_weights_that_are_no_weights_are_refused(model, content):
    (model / FILES["safetensors"]).write_bytes(content)

    refused(model)


def crafted_table(facts: object = None, **arrays: np.ndarray) -> bytes:
    """A contrast table with a right seal."""
    sound = {name: np.ones(shape, np.float32) for name, shape in table_file._SHAPES.items()}
    for name in ("prior", "likelihood"):
        sound[name] /= sound[name].shape[1]
    made = {"version": TABLE_VERSION, "shape": SHAPE_OF_TABLE, "findings": {"bell_width": 0.1}}
    made |= {"spacing_yx_mm": [1, 1], "store_fingerprint": "f", "store_contents": "c"}
    facts = made | facts if isinstance(facts, dict) and facts else facts
    facts = made if facts is None else facts
    text, arrays = facts if isinstance(facts, str) else json.dumps(facts), sound | arrays
    digest = table_file._digest(text, arrays)
    return safetensors.numpy.save(arrays, {"facts": text, "sha256": digest})


@pytest.mark.parametrize(
    "content",
    [
        crafted_table(facts=[]),
        crafted_table(facts={}),
        crafted_table(facts=DEEP),
        crafted_table(prior=np.ones((1, 1), np.float32)),
        crafted_table(bin_hu=np.ones((3, 2), np.float32)),
        crafted_table(histogram=np.full(table_file._SHAPES["histogram"], np.nan)),
        crafted_table(histogram=np.zeros(table_file._SHAPES["histogram"])),
        crafted_table(likelihood=np.zeros(table_file._SHAPES["likelihood"])),
        crafted_table(prior=np.ones(table_file._SHAPES["prior"], np.complex64)),
        crafted_table(bin_hu=np.full(table_file._SHAPES["bin_hu"], 1e6)),
        crafted_table(affinities=np.full(table_file._SHAPES["affinities"], 1e30)),
        crafted_table(facts={"findings": {}}),
        crafted_table(facts={"findings": {"bell_width": 10**400}}),
        crafted_table(facts={"findings": {"bell_width": math.nan}}),
        crafted_table(facts={"findings": {"bell_width": 1, "bell_gain_nats": 1}}),
        crafted_table(facts={"spacing_yx_mm": [0, 0]}),
        crafted_table(facts={"spacing_yx_mm": [math.nan, 1]}),
        (10**12).to_bytes(8, "little") + b"{}",
        b"",
    ],
    ids=[
        "list",
        "empty",
        "deep",
        "one position",
        "other axes",
        "not finite",
        "no voxels",
        "no shares",
        "complex",
        "beyond HU",
        "beyond counts",
        "no findings",
        "too large",
        "finding not finite",
        "half of two",
        "no pixels",
        "pixels not finite",
        "long",
        "nothing",
    ],
)
def test_a_crafted_contrast_table_is_refused(content):
    with pytest.raises(TableError, match=r"contrast table of it(?s:.*)python -m"):
        parse_table(content, "of it")


def test_a_table_with_a_right_seal_is_read_else():
    assert parse_table(crafted_table(), "of it").store_contents == "c"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Config, LocalPath]:
    """A configuration, and a checkpoint of it."""
    folder = tmp_path_factory.mktemp("run")
    store = make_store(folder / "s.zarr", mri=1, ct=1, shape=(4, 32, 32))
    settings = {"run.storage": str(folder), "run.name": "r", "data.store": str(store.path)}
    config = with_settings(smoke(), settings)
    config.run_folder.make_folder()
    state = build_state(config, size=store.size, shards=range(2), device=torch.device("cpu"))
    save_checkpoint(state, config.run_folder)
    (checkpoint,) = (config.run_folder / "checkpoints").published(FILE_HASHES)
    return config, checkpoint


@pytest.mark.parametrize("changes", [{"filters": 10**6}, {"blocks": 10**9}, {"filters": 5}])
def test_settings_of_a_run_that_its_weights_belie_are_refused(run, changes, monkeypatch):
    config, checkpoint = run
    claimed = replace(config, generator=replace(config.generator, **changes))
    # Whoever crafts the settings can craft those in the checkpoint too.
    monkeypatch.setattr(
        "cyclegan.train.checkpoint.checkpoint.require_same_settings", lambda *_: None
    )

    with pytest.raises(CheckpointError, match=r"mean\.safetensors is not of the networks"):
        load_generators(checkpoint, claimed)


BOMB = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(20))
"""Aliases in aliases: 400 bytes that are 9^19 words."""


@pytest.mark.parametrize(
    "text",
    [
        f"schema_version: 4\n{BOMB}run: *a19\n",
        f"schema_version: 4\n{BOMB}batch: {{shards: *a19}}\n",
        f"schema_version: 4\nbatch: {{shards: 1{'0' * 400}}}\n",
        "schema_version: 4\nbatch: {shards: 1e300}\n",
        "schema_version: 4\noptimizer: {learning_rate: .nan}\n",
        f"schema_version: {DEEP[:1500]}",
        "\0",
    ],
)
def test_a_configuration_that_would_fill_memory_is_refused(text, tmp_path):
    path = LocalPath(tmp_path / "config.yaml")
    path.write_text(text)

    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert len(str(error.value)) < 2000


def test_deep_records_are_damaged_ones(run, tmp_path):
    config, _ = run
    folder = LocalPath(tmp_path)
    for name in (FILE_HASHES, SETTINGS, "environment.json", SUBJECTS_FILE, "zarr.json"):
        (folder / name).write_text(DEEP)
    (folder / EVENT_LOG).write_text(f"{DEEP}\n")

    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        verify_checkpoint(folder)
    with pytest.raises(UserError, match=SETTINGS):
        load_settings(folder)
    with pytest.raises(UserError, match="Line 1 of"):
        EventLog(folder / EVENT_LOG)
    with pytest.raises(UsageError, match=r"not a store"):
        open_store(folder)
    assert read_environment(folder) == {}
    assert read_subjects(folder) == {}
    store = LocalPath(shutil.copytree(config.store, tmp_path / "s.zarr"))
    commit = next((store / "commits").iterdir())
    commit.write_text(DEEP)
    with pytest.raises(StoreError, match=commit.name):
        read_commits(store)
