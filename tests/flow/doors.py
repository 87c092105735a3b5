"""Starts Ray as the commands do, and tries every port of it without the token; prints the answers.

A program of its own: Ray's ports are to be those of one process, and its token unknown here.
"""

import json
import time

import ray

from mrct.ray_session import ray_session
from tests.support.listening import by_http, listening

AGENT_PORT = "127.0.0.1:52365"
"""Where Ray's dashboard agent listens by default; one on a machine."""
AGENTS = {"DashboardAgent": 2, "RuntimeEnvAgent": 1}
"""Processes of Ray that come up last, and how many ports each opens."""


def agents_are_up() -> bool:
    ports = [(each.command, each.port) for each in listening()]
    return all(
        len({port for name, port in ports if agent in name}) >= num_doors
        for agent, num_doors in AGENTS.items()
    )


def main() -> None:
    """Knock at every door of this process and of all that it started."""
    while by_http(AGENT_PORT):  # of a Ray beside this one, which would keep this one's agent closed
        time.sleep(1)
    with ray_session(num_cpus=1, dashboard=True):
        ray.get(ray.remote(lambda: 1).remote())
        until = time.monotonic() + 60
        while not agents_are_up():  # after the first task
            assert time.monotonic() < until, listening()
            time.sleep(0.2)
        doors = [[each.command, each.ip, each.port, each.answers()] for each in listening()]
    print(json.dumps(doors))


if __name__ == "__main__":
    main()
