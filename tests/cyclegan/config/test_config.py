"""A config is valid once built, says what is wrong before, and follows its run in a file."""

from dataclasses import replace

import pytest

from cyclegan.config.config import BatchConfig, Config, LossConfig, RunConfig, ScaleConfig
from cyclegan.config.files import config_hash, load_config, resolve, to_yaml, with_settings
from cyclegan.config.loss import Term
from cyclegan.config.presets import PRESETS, preset
from cyclegan.errors import ConfigError


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_its_file(name, tmp_path, monkeypatch):
    monkeypatch.setenv("CYCLEGAN_STORE", "store.zarr")
    config = resolve(preset(name))
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))

    assert load_config(path) == config
    assert config.run.name == f"{name}-{config_hash(preset(name))[:8]}"


def test_the_default_keeps_what_the_users_fixed():
    config = preset("default")

    assert (config.generator.filters, config.generator.blocks) == (64, 9)
    assert config.discriminator.spectral
    assert config.loss.ssim.effective_weight > 0
    assert config.train.epochs == 60
    assert config.train.compile == "all"
    assert config.train.precision == "auto"
    assert config.optimizer.learning_rate == 2e-4
    assert config.optimizer.schedule == "cosine"


def test_the_reference_is_zhu_2017():
    config = preset("reference")

    assert config.discriminator.norm == "instance"
    assert not config.discriminator.spectral
    assert (config.loss.cycle.weight, config.loss.identity.weight) == (10, 5)
    assert config.loss.ssim.effective_weight == 0
    assert config.train.pool_size == 50
    assert config.batch.global_size == 1
    assert config.optimizer.schedule == "linear"
    assert config.generator.upsample == "transposed"


def test_the_seed_is_its_notebook_as_its_text_means_it():
    config = preset("seed")

    assert config.train.epochs == 60
    assert (config.optimizer.learning_rate, config.optimizer.schedule) == (2e-4, "cosine")
    assert (config.loss.cycle.weight, config.loss.identity.weight) == (10, 0.5 * 10)
    assert config.loss.ssim.effective_weight > 0
    assert config.discriminator.spectral
    assert config.discriminator.norm == "none"  # an InstanceNorm after spectral norm cancels it
    assert config.batch.global_size == 16
    assert config.train.pool_size == 0


@pytest.mark.parametrize("name", ["default", "reference", "demo", "smoke", "seed", "deterministic"])
def test_a_preset_with_published_figures_changes_no_intensity_but_by_a_gain(name):
    assert not preset(name).data.changes_intensity


def test_the_presets_for_real_heads_and_pelves_change_a_small_share_of_the_mri():
    for name in ("brain-256", "pelvis-512"):
        data = preset(name).data
        assert data.changes_intensity
        assert 0 < data.intensity_share <= 0.3


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("gamma", (0.0, 1.0)),
        ("gamma", (1.2, 0.8)),
        ("bias_field", -0.1),
        ("bias_field", 1.0),
        ("blur_mm", -1.0),
        ("blur_mm", 11.0),
        ("intensity_share", 1.1),
    ],
)
def test_an_intensity_out_of_its_range_is_refused(setting, value):
    with pytest.raises(ConfigError, match=rf"data\.{setting} must"):
        with_settings(Config(), {f"data.{setting}": value})


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"no preset 'brian'.*default, reference, demo, smoke"):
        preset("brian")


def test_an_unknown_setting_in_a_file_is_named(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("schema_version: 4\nloss: {cyle: {weight: 3}}")

    with pytest.raises(ConfigError, match=r"loss has no setting cyle\..*'cycle'"):
        load_config(path)


def test_what_a_file_leaves_out_of_a_term_is_as_in_that_term(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("schema_version: 4\nloss: {depth: {enabled: true}, cycle: {schedule: rise}}")

    loss = load_config(path).loss

    assert loss.depth == Term(weight=10.0, schedule="fall")
    assert loss.cycle == Term(weight=10.0, schedule="rise")


@pytest.mark.parametrize(
    "text", ["loss: {cycle: true, cycle_weight: 3}", "schema_version: 2", "schema_version: 3"]
)
def test_a_file_of_another_version_is_refused_in_one_line_with_the_remedy(text, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=r"schema_version.*python -m cyclegan\.train") as caught:
        load_config(path)

    assert "critic.filters is discriminator.filters" in str(caught.value)
    assert "schedule.save_every_steps: 1000 is schedule.save_every: 1000 steps" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_are_changed_by_their_dotted_names():
    changed = with_settings(Config(), {"loss.cycle.weight": 3.0, "data.zoom": (1.0, 1.1)})

    assert changed.loss == replace(LossConfig(), cycle=Term(weight=3.0))
    assert changed.data.zoom == (1.0, 1.1)
    assert replace(changed, loss=Config().loss, data=Config().data) == Config()


@pytest.mark.parametrize("name", ["loss.cycel.weight", "loss.cycle", "loss.cycle.weight.x"])
def test_what_is_no_setting_is_not_changed(name):
    with pytest.raises(ConfigError, match=f"There is no setting {name}"):
        with_settings(Config(), {name: 1})


def test_a_negative_weight_is_refused():
    with pytest.raises(ConfigError, match=r"loss\.cycle\.weight is -1"):
        LossConfig(cycle=Term(weight=-1))


def test_more_workers_than_shards_are_refused_with_the_remedy():
    with pytest.raises(ConfigError, match=r"3 workers, but batch\.shards is 2.*--batch\.shards 3"):
        Config(batch=BatchConfig(shards=2), scale=ScaleConfig(workers=3))


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 5])
def test_every_shard_has_one_worker(world_size):
    batch = BatchConfig(shards=5)

    shards = [batch.shards_of(rank, world_size) for rank in range(world_size)]

    assert [shard for share in shards for shard in share] == [0, 1, 2, 3, 4]
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_where_and_how_often_does_not_change_the_hash_but_what_does():
    config = Config()

    assert config_hash(config) == config_hash(
        replace(config, scale=ScaleConfig(max_failures=9), run=RunConfig(name="x", storage="y"))
    )
    assert config_hash(config) != config_hash(replace(config, run=RunConfig(seed=1)))


def test_no_store_says_how_to_make_one(monkeypatch):
    monkeypatch.delenv("CYCLEGAN_STORE", raising=False)

    with pytest.raises(ConfigError, match="python -m data_prep convert"):
        _ = Config().store
