"""`python -m cluster.wait_for_nodes N`: wait until the cluster at RAY_ADDRESS has N nodes."""

import time

import ray

from mrct.cli import run_command
from mrct.errors import ExitCode, UserError
from mrct.ray_session import NoClusterError, ray_session

TIMEOUT_S = 600.0
"""Long, since the nodes of a large allocation start minutes apart."""


def wait_for_nodes(wanted: int, timeout_s: float = TIMEOUT_S) -> None:
    """Wait until `wanted` nodes are alive.

    Raises:
        UserError: The nodes did not join in time, or there is no Ray at RAY_ADDRESS.
    """
    until = time.monotonic() + timeout_s
    alive, reason = 0, "No Ray cluster answers at RAY_ADDRESS"
    while time.monotonic() < until:
        try:
            with ray_session():
                while time.monotonic() < until:
                    alive = sum(node["Alive"] for node in ray.nodes())
                    if alive >= wanted:
                        return
                    reason = f"{alive} of {wanted} nodes have joined"
                    time.sleep(0.5)
        except NoClusterError:  # the head is not up yet
            time.sleep(0.5)
    raise UserError(
        f"{reason} after {timeout_s:.0f} s. See the logs of the missing nodes: common causes are a "
        "firewall between nodes, and a project folder that they cannot read."
    )


def main(argv: list[str]) -> ExitCode:
    """Wait for the number of nodes given by the first argument."""
    wait_for_nodes(int(argv[0]))
    return ExitCode.DONE


if __name__ == "__main__":
    run_command(main)
