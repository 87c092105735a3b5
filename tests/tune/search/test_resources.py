"""As many trials run at once as the cluster holds, and what can never run is refused at once."""

from dataclasses import replace

import pytest

from cyclegan.errors import ConfigError
from mrct.ray_session import HEAD
from tests.support.searches import BASE
from tune.search.resources import resources_for

GIB = 2**30


@pytest.mark.parametrize(
    ("scale", "nodes", "most", "expected"),
    [
        # On CPUs one trial gets all cores, unless more trials are wanted or each has a number.
        ({}, [{"CPU": 2}], 0, (1, 2)),
        ({}, [{"CPU": 16}], 0, (1, 16)),
        ({}, [{"CPU": 16}], 4, (4, 4)),
        ({"cpus_per_worker": 2}, [{"CPU": 16}], 0, (8, 2)),
        ({"cpus_per_worker": 2}, [{"CPU": 16}], 3, (3, 2)),
        # A worker lives on one machine: two halves are no whole.
        ({"cpus_per_worker": 8}, [{"CPU": 12}, {"CPU": 12}], 0, (2, 8)),
        ({"workers": 2, "gpu": "no"}, [{"CPU": 8, "GPU": 8}], 0, (1, 4)),
        # GPUs decide, and share the cores.
        ({}, [{"CPU": 64, "GPU": 8}], 0, (8, 8)),
        ({"workers": 2}, [{"CPU": 64, "GPU": 8}], 0, (4, 8)),
        ({"gpus_per_worker": 0.25}, [{"CPU": 64, "GPU": 2}], 0, (8, 8)),
        ({"gpus_per_worker": 0.4}, [{"CPU": 64, "GPU": 2}], 0, (4, 16)),
        ({"cpus_per_worker": 8}, [{"CPU": 17, "GPU": 8}], 0, (2, 8)),
        ({}, [{"CPU": 8, "GPU": 4}, {"CPU": 8}], 0, (4, 2)),
    ],
)
def test_as_many_trials_run_at_once_as_fit(scale, nodes, most, expected):
    room = resources_for(replace(BASE.scale, **scale), nodes, 100, most)

    assert (room.concurrent, room.cpus_per_worker) == expected


def test_no_more_run_than_there_are():
    assert resources_for(BASE.scale, [{"CPU": 64, "GPU": 8}], 3).concurrent == 3


NODES_OF_A_CLUSTER_FILE = [{"CPU": 0}, *8 * [{"CPU": 8, "GPU": 1}], *16 * [{"CPU": 16}]]


@pytest.mark.parametrize(
    ("scale", "trials", "expected"),
    [
        ({}, 100, (8, 8)),
        ({}, 3, (3, 8)),  # no machine has more, though there are 64 cores beside GPUs
        ({"workers": 4}, 100, (2, 8)),
        ({"gpu": "no"}, 100, (1, 16)),
    ],
)
def test_no_worker_gets_more_cores_than_a_machine_has(scale, trials, expected):
    room = resources_for(replace(BASE.scale, **scale), NODES_OF_A_CLUSTER_FILE, trials)

    assert (room.concurrent, room.cpus_per_worker) == expected


@pytest.mark.parametrize(
    ("scale", "nodes"),
    [
        ({"cpus_per_worker": 4}, [{"CPU": 2}]),
        ({"workers": 2}, [{"CPU": 64, "GPU": 1}]),
        ({"gpu": "yes"}, [{"CPU": 4}]),
        ({"cpus_per_worker": 8}, [{"CPU": 4}, {"CPU": 4}]),
    ],
)
def test_a_trial_that_can_never_fit_is_refused_with_what_there_is(scale, nodes):
    with pytest.raises(ConfigError, match=r"the cluster has no room.*it has \d+ CPU cores"):
        resources_for(replace(BASE.scale, **scale), nodes, 5)


def test_so_many_leaders_fit_and_no_more():
    nodes = [{"CPU": 8, "GPU": 4, "memory": 8 * GIB}, {"CPU": 8, "GPU": 4, "memory": 8 * GIB}]
    assert resources_for(BASE.scale, nodes, 100).leader == {"memory": 2 * GIB}

    to_come = [{HEAD: 1, "memory": 8 * GIB}, *3 * [{"CPU": 8, "GPU": 1}]]
    assert resources_for(BASE.scale, to_come, 100).leader == {HEAD: 0.3333}
