"""How a command reaches Ray: the cluster it was submitted to, or one of its own.

Whoever reaches a port of Ray's may run code there. So our own Ray asks for a token always, and a
cluster that other machines reach is not used without one.
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

HEAD = "node:__internal_head__"
"""The resource by which Ray tells the head from other machines."""
ADDED = "CYCLEGAN_ADDED_MACHINES"
"""The environment variable that says what an autoscaler may add."""
WHERE_ADDED = f"Where an autoscaler adds them, the head's {ADDED} says which (how to cluster)."
NO_EXPORTERS = {
    "RAY_enable_metrics_collection": "0",
    "AUTOSCALER_METRIC_PORT": "-1",
    "DASHBOARD_METRIC_PORT": "-1",
}
"""Ray's exporters of counters ask nobody for a token. Two of them cannot be switched off; a port
that there is not keeps them shut (Ray 2.60)."""


@contextmanager
def ray_session(
    address: str | None = None, *, num_cpus: int | None = None, dashboard: bool = False
) -> Iterator[None]:
    """Connect to `address`, else to RAY_ADDRESS (which `ray job submit` sets), else start Ray.

    A local Ray ends with the block. Its worker logs stay in Ray's own files: a command shows its
    own progress. Where Ray runs in this process already, that one is used and left running.

    Raises:
        UserError: Other machines reach the cluster, and it asks nobody for a token.
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
        # Whatever the user's shell says of tokens is for clusters, not for this Ray. Ray turns them
        # on where nothing is said; said here, it would come too late, after the import of ray.
        os.environ.pop("RAY_AUTH_MODE", None)
        os.environ |= {"RAY_AUTH_TOKEN": own_token()} | NO_EXPORTERS
        # "local": without it Ray joins whatever cluster this machine's /tmp/ray tells of.
        ray.init(
            "local",
            num_cpus=num_cpus,
            include_dashboard=dashboard,
            dashboard_host="127.0.0.1",
            **quiet,
        )
    try:
        if address:
            require_token()
        yield
    finally:
        ray.shutdown()


@cache
def own_token() -> str:
    """The token of every Ray that this process starts: Ray reads it once."""
    return secrets.token_hex(32)


def machines() -> list[dict[str, float]]:
    """The resources of each machine of the cluster.

    A cluster that grows may have no machine at all before somebody waits for one, and Ray tells
    nobody what its autoscaler may add. So whoever starts such a cluster says it on the head by
    CYCLEGAN_ADDED_MACHINES, as in [{"count": 8, "CPU": 8, "GPU": 1}]: then the machines are the
    head and those.

    Raises:
        UsageError: The variable says something else.
    """
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    text = os.environ.get(ADDED)
    if not text:
        return alive
    try:
        kinds = [{name: float(most) for name, most in kind.items()} for kind in json.loads(text)]
        added = [kind for kind in kinds for _ in range(int(kind.pop("count")))]
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise UsageError(
            f"{ADDED} is {text!r}, which cannot be read. It lists the kinds of machine that the "
            'autoscaler may add, such as [{"count": 8, "CPU": 8, "GPU": 1}].'
        ) from error
    return [node for node in alive if HEAD in node] + added


def require_token() -> None:
    """Refuse the connected cluster where others reach it and it lets everyone in.

    Raises:
        UserError: So it is; with the remedy.
    """
    nodes = [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]
    reachable = [address for address in nodes if not is_loopback(address)]
    head = ray.get_runtime_context().gcs_address
    if reachable and lets_everyone_in(head):
        raise UserError(
            f"the Ray cluster at {head} listens on {reachable[0]} and asks nobody for a token: "
            "whoever reaches its ports can run code on it and read its data. Start it with one, "
            "the same on every node:\n"
            "  (umask 077; mkdir -p ~/.ray; python -c 'import secrets; "
            'print(secrets.token_hex(32), end="")\' > ~/.ray/auth_token)\n'
            "  RAY_AUTH_MODE=token ray start --head ...\n"
            "or keep it on this machine alone: ray start --head --node-ip-address=127.0.0.1 ..."
        )


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an IP address; a name is taken for one that others do."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def lets_everyone_in(head: str) -> bool:
    """Ask a head whether it is alive, as a stranger would: without a token."""
    import grpc

    with grpc.insecure_channel(head) as channel:
        ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")
        try:
            ask(b"", timeout=10)
        except grpc.RpcError as error:
            return bool(error.code() != grpc.StatusCode.UNAUTHENTICATED)
        return True
