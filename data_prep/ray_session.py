"""How a command reaches Ray: the cluster it was submitted to, or one of its own."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray


@contextmanager
def ray_session(
    address: str | None = None, *, num_cpus: int | None = None, dashboard: bool = False
) -> Iterator[None]:
    """Connect to `address`, else to RAY_ADDRESS (which `ray job submit` sets), else start Ray.

    A local Ray ends with the block and talks through tokens, which Ray turns on by itself. Its
    worker logs stay in Ray's own files: a command shows its own progress. Where Ray runs in this
    process already, that one is used and left running.
    """
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
    # Ray warns about a change to come that does not concern us: no worker asks for 0 GPUs here.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # That tokens are on is what we want, and no news to a user at every start.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel("ERROR")
    if address:
        ray.init(address, **quiet)
    else:
        # "local": without it Ray joins whatever cluster this machine's /tmp/ray tells of.
        ray.init(
            "local",
            num_cpus=num_cpus,
            include_dashboard=dashboard,
            dashboard_host="127.0.0.1",
            **quiet,
        )
    try:
        yield
    finally:
        ray.shutdown()
