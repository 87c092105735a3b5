"""Connects a command to Ray: to the cluster it was submitted to, or to a local one it starts.

Anyone who can reach a port of Ray can run code there. Therefore a local Ray always requires a
token, and a cluster that other machines can reach is refused without one.
"""

import ipaddress
import json
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import ray

from mrct.errors import UsageError, UserError
from mrct.stop_signals import outliving_the_terminal

HEAD = "node:__internal_head__"
"""Resource that Ray gives to the head node only."""
ADDED_MACHINES = "CYCLEGAN_ADDED_MACHINES"
"""Environment variable that lists the machines an autoscaler may add."""
WHERE_ADDED = f"If an autoscaler adds them, set {ADDED_MACHINES} on the head node (how to cluster)."
NO_EXPORTERS = {
    "RAY_enable_metrics_collection": "0",
    "AUTOSCALER_METRIC_PORT": "-1",
    "DASHBOARD_METRIC_PORT": "-1",
}
"""Ray's exporters of metrics require no token. Two of them cannot be switched off, but an invalid
port keeps them closed (Ray 2.60)."""


@contextmanager
def ray_session(
    address: str | None = None, *, num_cpus: int | None = None, dashboard: bool = False
) -> Iterator[None]:
    """Connect to `address`, else to RAY_ADDRESS (which `ray job submit` sets), else start Ray.

    A local Ray ends with the block. Its worker logs stay in Ray's own files, because a command
    shows its own progress; with `--log-level debug` they are shown too. If Ray already runs in
    this process, it is used and left running.

    Raises:
        UserError: Other machines can reach the cluster, and it requires no token.
    """
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    level = logging.getLogger().level  # of --log-level
    shown = {"log_to_driver": level <= logging.DEBUG, "logging_level": level}
    # Silences a warning about a coming change that is irrelevant here: no worker requests 0 GPUs.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Token authentication is intended; suppress Ray's notice.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel("ERROR")
    if address:
        ray.init(address, **shown)
    else:
        # RAY_AUTH_MODE in the user's shell is meant for clusters, not for this local Ray. Without
        # it Ray requires tokens; setting it here, after the import of ray, would be too late.
        os.environ.pop("RAY_AUTH_MODE", None)
        os.environ |= {"RAY_AUTH_TOKEN": own_token()} | NO_EXPORTERS
        # "local", because otherwise Ray joins any cluster recorded in this machine's /tmp/ray.
        with outliving_the_terminal():
            ray.init(
                "local",
                num_cpus=num_cpus,
                include_dashboard=dashboard,
                dashboard_host="127.0.0.1",
                **shown,
            )
    try:
        if address:
            require_token()
        yield
    finally:
        ray.shutdown()


@cache
def own_token() -> str:
    """Return the token of every Ray that this process starts; cached, because Ray reads it once."""
    return secrets.token_hex(32)


def machines() -> list[dict[str, float]]:
    """Return the resources of each machine of the cluster.

    An autoscaled cluster may have no worker machine until one is requested, and Ray does not
    report what its autoscaler may add. Therefore CYCLEGAN_ADDED_MACHINES on the head lists the
    machines, as in [{"count": 8, "CPU": 8, "GPU": 1}]; the result is then the head and those.

    Raises:
        UsageError: The variable cannot be parsed.
    """
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    text = os.environ.get(ADDED_MACHINES)
    if not text:
        return alive
    try:
        kinds = [{name: float(most) for name, most in kind.items()} for kind in json.loads(text)]
        added = [kind for kind in kinds for _ in range(int(kind.pop("count")))]
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise UsageError(
            f"{ADDED_MACHINES} is {text!r}, which cannot be parsed. Set it to the kinds of machine "
            'that the autoscaler may add, such as [{"count": 8, "CPU": 8, "GPU": 1}].'
        ) from error
    return [node for node in alive if HEAD in node] + added


def require_token() -> None:
    """Refuse the connected cluster if other machines can reach it and it requires no token.

    Raises:
        UserError: The cluster requires no token.
    """
    nodes = [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]
    reachable = [address for address in nodes if not is_loopback(address)]
    head = ray.get_runtime_context().gcs_address
    if reachable and accepts_unauthenticated_clients(head):
        raise UserError(
            f"The Ray cluster at {head} listens on {reachable[0]} and requires no token: anyone "
            "who can reach its ports can run code on it and read its data. Start it with a token, "
            "the same on every node:\n"
            "  (umask 077; mkdir -p ~/.ray; python -c 'import secrets; "
            'print(secrets.token_hex(32), end="")\' > ~/.ray/auth_token)\n'
            "  RAY_AUTH_MODE=token ray start --head ...\n"
            "or restrict it to this machine: ray start --head --node-ip-address=127.0.0.1 ..."
        )


def is_loopback(address: str) -> bool:
    """Return whether an address is reachable from this machine only; host names other than
    localhost count as reachable by others."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def accepts_unauthenticated_clients(head: str) -> bool:
    """Return whether a head node answers a request without a token."""
    import grpc

    with grpc.insecure_channel(head) as channel:
        ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")
        try:
            ask(b"", timeout=10)
        except grpc.RpcError as error:
            return bool(error.code() != grpc.StatusCode.UNAUTHENTICATED)
        return True
