"""Workers of one machine meet on loopback: nobody else can reach their sockets."""

from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist

from cyclegan.train.distributed import LOOPBACK, join_group, open_port
from tests.support.forks import forked


def listening() -> set[str]:
    """The addresses on which this process accepts connections."""
    return {
        each.laddr.ip.removeprefix("::ffff:")
        for each in psutil.Process().net_connections()
        if each.status == psutil.CONN_LISTEN
    }


def add_up(rank: int, address: str, port: int, folder: Path) -> None:
    """One of two workers: leave the sum of the ranks plus one, and where it listened."""
    if rank == 0:
        port = open_port(address)
        (folder / "port.partial").write_text(str(port))
        (folder / "port.partial").rename(folder / "port")
    else:
        while not (folder / "port").exists():
            pass
        port = int((folder / "port").read_text())
    join_group(rank, 2, address=address, port=port, backend="gloo", timeout_s=30)
    total = torch.tensor([rank + 1.0])
    dist.all_reduce(total)
    (folder / str(rank)).write_text(f"{total.item():g} {' '.join(sorted(listening()))}")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("address", [LOOPBACK, "127.0.0.2"])
def test_a_group_listens_on_the_address_of_its_workers_alone(address, tmp_path):
    workers = [
        forked().Process(target=add_up, args=(rank, address, 0, tmp_path)) for rank in range(2)
    ]
    for each in workers:
        each.start()
    for each in workers:
        each.join(60)
        each.kill()

    told = [(tmp_path / str(rank)).read_text().split() for rank in range(2)]
    assert [total for total, *_ in told] == ["3", "3"]
    if address == LOOPBACK:
        assert {each for _, *found in told for each in found} == {LOOPBACK}
    else:  # gloo's own sockets follow the machine's name
        assert address in told[0]
        assert not {"0.0.0.0", "::"} & {each for _, *found in told for each in found}


def test_the_port_of_a_group_is_free_again_when_it_ends(monkeypatch):
    for library in ("GLOO", "NCCL"):  # so that it is undone here
        monkeypatch.setenv(f"{library}_SOCKET_IFNAME", "lo")
    port = open_port(LOOPBACK)

    join_group(0, 1, address=LOOPBACK, port=port, backend="gloo", timeout_s=30)
    dist.destroy_process_group()

    assert port not in {each.laddr.port for each in psutil.Process().net_connections()}
