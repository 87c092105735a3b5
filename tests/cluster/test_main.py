"""The command line of `python -m cluster`."""

import pytest

from cluster.__main__ import DoctorCommand, after_doctor, main
from cyclegan.train.__main__ import parse_command
from mrct.errors import UsageError
from mrct.storage.paths import storage_path


def test_a_command_without_two_hyphens_is_printed_with_them():
    with pytest.raises(UsageError) as refused:
        main(["submit", "--target", "ray", "python", "-m", "cyclegan.train", "smoke"])

    advised = str(refused.value).splitlines()[-1]
    assert advised == ("  python -m cluster submit --target ray -- python -m cyclegan.train smoke")


@pytest.mark.parametrize(
    ("failed", "begins"), [(1, "1 check failed: do what it says"), (2, "2 checks failed: do what")]
)
def test_failed_checks_are_counted(failed, begins):
    assert after_doctor(DoctorCommand(), None, failed).startswith(begins)


def test_the_training_that_follows_the_checks_parses_as_pasted():
    store = storage_path("/nowhere/s.zarr")

    said = after_doctor(DoctorCommand(address="10.0.0.1:6379"), store, 0)

    assert "--scale.workers" in said
    words = said.splitlines()[-1].split()
    assert words[:3] == ["python", "-m", "cyclegan.train"]
    assert parse_command(words[3:])[1].store == store
