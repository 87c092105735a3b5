"""The command line of `python -m cluster`."""

import pytest

from cluster.__main__ import DoctorCommand, after_doctor, main
from mrct.errors import UsageError
from mrct.storage.paths import storage_path


def test_a_command_without_two_hyphens_is_printed_with_them():
    with pytest.raises(UsageError) as refused:
        main(["submit", "--target", "ray", "python", "-m", "cyclegan.train", "smoke"])

    advised = str(refused.value).splitlines()[-1]
    assert advised == ("  python -m cluster submit --target ray -- python -m cyclegan.train smoke")


def test_what_the_doctor_advises_can_be_pasted():
    doctor = DoctorCommand(address="10.0.0.1:6379")

    assert after_doctor(doctor, None, failed=1).startswith("1 check failed: do what it says")
    assert after_doctor(doctor, None, failed=2).startswith("2 checks failed: do what they say")
    advised = after_doctor(doctor, storage_path("/nowhere/s.zarr"), failed=0).splitlines()[-1]
    assert advised.endswith("--data.store /nowhere/s.zarr  # and --scale.workers N")
