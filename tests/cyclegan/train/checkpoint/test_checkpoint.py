"""A checkpoint holds the whole state, is whole or not there, and tells when it is damaged."""

import hashlib
from dataclasses import replace

import pytest
import torch

from cyclegan.config.config import Config
from cyclegan.errors import CheckpointError
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.checkpoint.snapshot import modules_of, optimizer_tensors, optimizers_of
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.state import TrainState, build_state
from cyclegan.train.loop import train_worker


@pytest.fixture
def state(trained: TrainState) -> TrainState:
    """A state in which everything has been changed by steps."""
    return trained


def empty(config: Config) -> TrainState:
    return build_state(config, size=(32, 32), shards=range(2), device=torch.device("cpu"))


def digest(state: TrainState) -> str:
    """SHA-256 of all that a state holds."""
    tensors = {
        **{f"{n}.{k}": v for n, m in modules_of(state).items() for k, v in m.state_dict().items()},
        **{
            f"{n}.{k}": v
            for n, o in optimizers_of(state).items()
            for k, v in optimizer_tensors(o).items()
        },
        "mri_pool": state.mri_pool.images,
        "ct_pool": state.ct_pool.images,
        "skipped": state.skipped,
        "step": torch.tensor(state.step),
    }
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return total.hexdigest()


def test_everything_comes_back(state, config):
    other = empty(config)
    assert digest(other) != digest(state)

    checkpoint.restore_checkpoint(other, checkpoint.folder_of(config.run_folder, 6))

    assert digest(other) == digest(state)


def test_moments_lie_in_memory_as_their_weights_do(config):
    """Fused Adam goes through memory: moments in another layout would be another weight's."""
    channels_last = replace(config, train=replace(config.train, channels_last="yes"))
    state = train_worker(channels_last, Worker())

    resumed = build_state(
        channels_last,
        size=(32, 32),
        shards=range(2),
        device=torch.device("cpu"),
        layout=torch.channels_last,
    )
    checkpoint.restore_checkpoint(resumed, checkpoint.folder_of(channels_last.run_folder, 6))

    for before, after in zip(
        state.generators.parameters(), resumed.generators.parameters(), strict=True
    ):
        moment = resumed.generator_optimizer.state[after]["exp_avg"]
        assert moment.stride() == after.stride()
        assert torch.equal(moment, state.generator_optimizer.state[before]["exp_avg"])


def test_a_run_may_go_on_in_fp16_from_where_it_needed_no_loss_scale(state, config):
    fp16 = build_state(
        config, size=(32, 32), shards=range(2), device=torch.device("cpu"), fp16=True
    )

    checkpoint.restore_checkpoint(fp16, checkpoint.folder_of(config.run_folder, 6))

    assert digest(fp16) == digest(state)
    assert fp16.scaler.get_scale() == 2.0**16  # where torch begins


def test_the_look_up_of_step_0_is_no_trained_checkpoint(state, config):
    def best(**which):
        return checkpoint.best_checkpoint(config.run_folder, **which).name

    state.step = 0
    checkpoint.save_checkpoint(state, config.run_folder, score=0.1)

    assert best() == "step_00000000"
    assert best(trained=True) == "step_00000006"


def test_a_damaged_best_checkpoint_is_passed_over(state, config, capsys):
    for step, score in ((9, 0.1), (12, 0.2)):
        state.step = step
        checkpoint.save_checkpoint(state, config.run_folder, score=score)
    assert checkpoint.best_checkpoint(config.run_folder) == checkpoint.folder_of(
        config.run_folder, 9
    )

    (checkpoint.folder_of(config.run_folder, 9) / "mean.safetensors").unlink()

    assert checkpoint.best_checkpoint(config.run_folder) == checkpoint.folder_of(
        config.run_folder, 12
    )
    assert "step_00000009" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mean.safetensors", "pools_001.safetensors", "state.json"])
def test_one_flipped_bit_is_found_named_and_fallen_back_from(state, config, capsys, name):
    damaged = checkpoint.folder_of(config.run_folder, 6) / name
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)

    with pytest.raises(CheckpointError, match=f"step_00000006/{name} is damaged"):
        checkpoint.restore_checkpoint(empty(config), damaged.parent)

    assert checkpoint.newest_checkpoint(config.run_folder) == checkpoint.folder_of(
        config.run_folder, 3
    )
    assert "damaged" in capsys.readouterr().err


def test_a_run_with_damaged_checkpoints_only_does_not_start_anew(state, config):
    for folder in checkpoint.saved_checkpoints(config.run_folder):
        (folder / "mean.safetensors").unlink()

    with pytest.raises(CheckpointError, match=r"All 2 checkpoints .* are damaged"):
        checkpoint.newest_checkpoint(config.run_folder)


def test_the_last_two_and_the_best_are_kept(state, config):
    for step in (9, 12, 15):
        state.step = step
        checkpoint.save_checkpoint(state, config.run_folder, score=0.1 if step == 9 else 0.2)
        checkpoint.prune_checkpoints(config.run_folder, keep_last=2, keep_best=1)

    steps = [int(folder.name[5:]) for folder in checkpoint.saved_checkpoints(config.run_folder)]
    assert steps == [9, 12, 15]
    assert checkpoint.best_checkpoint(config.run_folder) == checkpoint.folder_of(
        config.run_folder, 9
    )


def test_generators_come_back_with_the_mean_weights(state, config):
    to_ct, to_mri = checkpoint.load_generators(checkpoint.folder_of(config.run_folder, 6), config)

    image = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(to_ct(image), state.mean.to_ct(image))
    torch.testing.assert_close(to_mri(image), state.mean.to_mri(image))
