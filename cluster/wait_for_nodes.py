"""`python -m cluster.wait_for_nodes N`: wait until the cluster at RAY_ADDRESS has N nodes."""

import time

import ray

from mrct.cli import run_command
from mrct.errors import ExitCode, UserError
from mrct.ray_session import ray_session

TIMEOUT_S = 600.0
"""The nodes of a large allocation come up minutes apart."""


def wait_for_nodes(wanted: int, timeout_s: float = TIMEOUT_S) -> None:
    """Return once that many nodes are alive.

    Raises:
        UserError: They did not come in time, or nothing answers at RAY_ADDRESS.
    """
    until = time.monotonic() + timeout_s
    alive, reason = 0, "no Ray answers at RAY_ADDRESS"
    while time.monotonic() < until:
        try:
            with ray_session():
                while time.monotonic() < until:
                    alive = sum(node["Alive"] for node in ray.nodes())
                    if alive >= wanted:
                        return
                    reason = f"{alive} of {wanted} nodes have joined"
                    time.sleep(0.5)
        except ConnectionError:  # the head is not up yet
            time.sleep(0.5)
    raise UserError(
        f"{reason} after {timeout_s:.0f} s. Look at the log of the nodes that are missing: the "
        "usual reasons are a firewall between them, and a project folder that they do not see."
    )


def main(argv: list[str]) -> ExitCode:
    """Wait for as many nodes as the first argument says."""
    wait_for_nodes(int(argv[0]))
    return ExitCode.DONE


if __name__ == "__main__":
    run_command(main)
