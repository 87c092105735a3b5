"""What is known of a cluster: which machines it has, and which its autoscaler may add."""

import pytest
import ray

from mrct.errors import UsageError
from mrct.ray_session import ADDED_MACHINES, HEAD, machines

HEAD_NODE = {"Alive": True, "Resources": {"CPU": 2.0, HEAD: 1.0}}
OTHER = {"Alive": True, "Resources": {"CPU": 4.0}}
LOST = {"Alive": False, "Resources": {"CPU": 4.0}}


@pytest.fixture(autouse=True)
def nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Ray says of three machines, one of them lost."""
    monkeypatch.setattr(ray, "nodes", lambda: [HEAD_NODE, OTHER, LOST])


def test_the_machines_are_those_that_are_there() -> None:
    assert machines() == [HEAD_NODE["Resources"], OTHER["Resources"]]


def test_where_machines_are_added_they_are_the_head_and_all_that_may_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(
        ADDED_MACHINES, '[{"count": 2, "CPU": 8, "GPU": 1}, {"count": 1, "CPU": 16}]'
    )

    gpu = {"CPU": 8.0, "GPU": 1.0}
    assert machines() == [HEAD_NODE["Resources"], gpu, gpu, {"CPU": 16.0}]


@pytest.mark.parametrize(
    "text", ["8", "{}8", '["CPU"]', '[{"CPU": 8}]', '[{"count": "many"}]', '[{"count": Infinity}]']
)
def test_what_says_nothing_of_machines_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(ADDED_MACHINES, text)

    with pytest.raises(UsageError, match=rf"{ADDED_MACHINES} is .*count"):
        machines()
