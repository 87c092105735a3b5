"""P4 and P5: every stored byte is verified before it is used, and what is missing is an error.

60 flipped bits of each kind and 60 losses here, 1000 and 300 by `make faults`.
"""

import pytest

from tests.faults import bit_rot


@pytest.mark.parametrize(
    "flips",
    [
        bit_rot.flips_of_shards,
        bit_rot.flips_of_gzip_files,
        bit_rot.flips_of_checkpoints,
        bit_rot.flips_of_models,
        bit_rot.losses_of_files,
    ],
)
def test_a_flipped_bit_or_a_loss_is_found_before_anything_is_used(tmp_path, flips):
    with flips(tmp_path) as inject:
        for number in range(60):
            inject(number)


def test_a_flipped_bit_of_a_commit_record_is_found_or_says_the_same(tmp_path):
    with bit_rot.flips_of_records(tmp_path) as inject:
        found = [inject(number) for number in range(60)]

    assert sum(found) >= 0.99 * len(found)  # 1e-05 is 1E-05


def test_a_flipped_bit_of_what_opens_a_store_is_found_or_says_the_same(tmp_path):
    with bit_rot.flips_of_what_opens_a_store(tmp_path) as inject:
        found = [inject(number) for number in range(3 * 60)]

    for file in range(3):
        assert sum(found[file::3]) > 0.6 * 60  # the others are spaces
