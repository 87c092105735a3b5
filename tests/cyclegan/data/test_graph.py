"""What the GPU graph would do, read from its serialized form where there is no GPU."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from cyclegan.data.dali import make_graph
from cyclegan.data.stored_slices import BatchFormat


@dataclass(frozen=True)
class Operator:
    name: str
    device: str


def operators(serialized: bytes) -> list[Operator]:
    """The operators of a serialized pipeline, read as plain protobuf (dali.proto, 2.4).

    PipelineDef has operators in field 5; an operator its name in 1 and arguments in 4; an argument
    its name in 1 and a text in 5.
    """
    found = []
    for operator in (dict_of(op) for number, op in fields(serialized) if number == 5):
        arguments = {dict_of(argument)[1][0]: dict_of(argument) for argument in operator[4]}
        found.append(
            Operator(operator[1][0].decode().strip("_"), arguments[b"device"][5][0].decode())
        )
    return found


def dict_of(message: bytes) -> dict[int, list[bytes]]:
    values: dict[int, list[bytes]] = defaultdict(list)
    for number, value in fields(message):
        values[number].append(value)
    return values


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(message):
        number, kind = divmod(varint(), 8)
        if kind == 2:
            length = varint()
            yield number, message[place : place + length]
            place += length
        elif kind == 0:
            varint()
        else:
            place += {1: 8, 5: 4}[kind]


def test_the_gpu_graph_can_be_made_without_a_gpu_and_works_on_the_gpu_alone() -> None:
    form = BatchFormat(
        batch_size=4,
        channels=3,
        mri_contrast="inverted",
        changes_intensity=True,
        noise_kind="rician",
        channels_last=True,
    )

    on_gpu, on_cpu = (
        operators(make_graph(form, threads=1, gpu=gpu, device_id=None).serialize())
        for gpu in (True, False)
    )

    assert {operator.device for operator in on_cpu} == {"cpu"}
    # None of DALI's own random operators: they follow the order of calls, not the sample's index.
    both = {operator.name for operator in on_cpu} | {operator.name for operator in on_gpu}
    assert not [name for name in both if "Random" in name or "Noise" in name or "Coin" in name]
    # What is fed comes from the host; what goes over is integers and a few numbers a slice.
    feeding = {"ExternalSource", "TensorSubscript"}
    # Which slices are changed is decided from a number of each.
    feeding |= {"ArithmeticGenericOp", "conditional__Split"}
    assert {operator.name for operator in on_gpu if operator.device == "cpu"} == feeding
    assert {operator.name for operator in on_gpu if operator.device == "gpu"} == {
        "ArithmeticGenericOp",
        "BrightnessContrast",
        "Cast",
        "GaussianBlur",
        "TensorSubscript",
        "Transpose",
        "WarpAffine",
        "conditional__Merge",
        "conditional__Split",
    }
