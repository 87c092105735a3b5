"""Connects a command to Ray: to the cluster it was submitted to, or to a local one it starts.

Anyone who can reach a port of Ray can run code there. Therefore a local Ray always requires a
token, and a cluster that other machines can reach is refused without one.
"""

import fcntl
import ipaddress
import json
import logging
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

import ray

from mrct.errors import UsageError, UserError
from mrct.host_limits import require_for_ray
from mrct.progress import say_state
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

LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0"
"""Environment variable that lets `ray start --node-ip-address=127.0.0.1` listen on loopback; Ray
otherwise replaces the address by that of the machine (Ray 2.60)."""
ANSWER_S = 10
"""Seconds in which the head of a cluster must answer."""
OURS = ".cyclegan"
"""File that marks the files of a local Ray of this project, locked for as long as it runs."""
KEPT_S = 86400.0
"""Time for which the files of a Ray that ended by an error are kept: they hold its logs."""
ANSWERS = ("OK", "UNAUTHENTICATED")
"""Answers of a head node to a request without a token: it requires none, or one."""


class NoClusterError(UserError):
    """No cluster answers at an address; it may not be up yet."""


@contextmanager
def ray_session(
    address: str | None = None, *, num_cpus: int | None = None, dashboard: bool = False
) -> Iterator[None]:
    """Connect to `address`, else to RAY_ADDRESS (which `ray job submit` sets), else start Ray.

    A local Ray ends with the block, and its files are removed; if the block raises, or with
    `--log-level info`, they stay for a day. Worker logs are in these files only, because a command
    shows its own progress; with `--log-level debug` they are shown too. If Ray already runs in
    this process, it is used and left running.

    Raises:
        UserError: The cluster cannot be used, or other machines can reach it and it requires no
            token; or Ray does not start.
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
    if address == "local":  # Ray's word for one of its own
        address = None
    if address:
        say_state(f"Connecting to Ray at {address}")
        connect(address, **shown)
        mark = None
    else:
        say_state("Starting Ray on this machine")
        mark = start_local_ray(num_cpus=num_cpus, include_dashboard=dashboard, **shown)
    keeps_files = level < logging.WARNING
    try:
        if address:
            require_token()
        yield
    except BaseException:
        keeps_files = True
        raise
    finally:
        ray.shutdown()
        if mark:
            files = Path(mark.name).parent
            if keeps_files:
                os.utime(mark.name)  # the day counts from its end
            else:
                shutil.rmtree(files, ignore_errors=True)
            mark.close()


@contextmanager
def named_cluster() -> Iterator[None]:
    """Connect to the cluster of RAY_ADDRESS, if it is set; a later `ray_session` uses it.

    Raises:
        UserError: The cluster cannot be used.
    """
    with ray_session() if os.environ.get("RAY_ADDRESS") else nullcontext():
        yield


def connect(address: str, **options: Any) -> None:
    """Connect to the cluster at HOST:PORT, or to that of this machine if the address is `auto`.

    Raises:
        NoClusterError: It does not answer within `ANSWER_S`, or is no cluster.
        UserError: It is of another version, or refuses this process.
    """
    remedy = (
        "Give HOST:PORT of a running head, as `ray start --head` printed it, such as "
        "RAY_ADDRESS=10.0.0.1:6379; with RAY_ADDRESS unset this command starts its own Ray."
    )
    if "://" in address:
        raise UsageError(
            f"The Ray address {address} is a URL, as `ray job submit` takes it, but this command "
            f"joins the cluster itself. {remedy}"
        )
    host, _, port = address.rpartition(":")
    if host and is_loopback(host):  # Ray joins a head on this machine by the machine's address
        address = f"{ray.util.get_node_ip_address()}:{port}"
    if address != "auto" and (answer := answer_without_token(address)) not in ANSWERS:
        confined = f" A head on loopback alone requires {LOOPBACK_ONLY} in this shell too."
        raise NoClusterError(
            f"No Ray cluster answers at {address} ({answer}). {remedy}"
            f"{confined if host and is_loopback(host) else ''}"
        )
    try:
        ray.init(address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        kind = NoClusterError if isinstance(error, ConnectionError) else UserError
        raise kind(f"The Ray cluster at {address} cannot be used: {error}\n{remedy}") from error


def start_local_ray(**options: Any) -> IO[str]:
    """Start a Ray of this process; once more, if it is not up within Ray's fixed 30 s.

    Returns:
        The mark of its files, locked, in their folder, which only this user may open.

    Raises:
        UserError: It did not start, or this machine does not allow it what it needs.
    """
    require_for_ray()
    # RAY_AUTH_MODE in the user's shell is meant for clusters, not for this local Ray. Without
    # it Ray requires tokens; setting it here, after the import of ray, would be too late.
    os.environ.pop("RAY_AUTH_MODE", None)
    os.environ |= {"RAY_AUTH_TOKEN": own_token()} | NO_EXPORTERS
    for last in (False, True):
        try:
            # "local", because otherwise Ray joins any cluster recorded in this machine's /tmp/ray.
            with outliving_the_terminal():
                context = ray.init("local", dashboard_host="127.0.0.1", **options)
        except Exception as error:  # Ray raises no narrower type
            if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
                raise UserError(
                    f"Ray cannot use its folder, in /tmp or TMPDIR: {error}. Set RAY_TMPDIR to a "
                    "folder of your own on a local disk, with a path shorter than 40 characters."
                ) from error
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            if last:
                raise UserError(
                    f"Ray did not start on this machine: {reason} Its logs are below "
                    "/tmp/ray/session_latest/logs. If the machine is busy, try again later."
                ) from error
            print(f"warning: Ray did not start ({reason}); trying once more.", file=sys.stderr)
        else:
            files = Path(context.address_info["session_dir"])
            files.chmod(0o700)  # Ray lets everybody write there
            mark = (files / OURS).open("w")
            with suppress(OSError):  # not every file system has locks
                fcntl.flock(mark, fcntl.LOCK_EX)
            remove_old_files(files.parent)
            return mark
    raise AssertionError  # the last attempt returned or raised


def remove_old_files(folder: Path) -> None:
    """Remove the files of this user's local Rays that ended more than a day ago, by an error or a
    kill. The lock tells who runs, in other containers and on other machines too."""
    for mark in folder.glob(f"session_2*/{OURS}"):
        files = mark.parent
        with suppress(OSError), mark.open("r+") as held:  # an OSError too if the lock is held
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_own = files.stat().st_uid == os.getuid() and not files.is_symlink()
            if is_own and time.time() - mark.stat().st_mtime > KEPT_S:
                shutil.rmtree(files)


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
            "or restrict it to this machine:\n"
            f"  export {LOOPBACK_ONLY}   # in every shell that uses it\n"
            "  ray start --head --node-ip-address=127.0.0.1 ..."
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
    return answer_without_token(head) != "UNAUTHENTICATED"


def answer_without_token(head: str) -> str:
    """Return gRPC's name of a head node's answer to a request without a token: one of `ANSWERS`,
    unless it is no head node."""
    import grpc

    with grpc.insecure_channel(head) as channel:
        ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")
        try:
            ask(b"", timeout=ANSWER_S)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"
