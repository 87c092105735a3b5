"""A `StoragePath` as a field of a command line."""

from typing import Annotated

from tyro.constructors import PrimitiveConstructorSpec

from data_prep.place import StoragePath, storage_path

StoragePathArgument = Annotated[
    StoragePath,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH|URL",
        instance_from_str=lambda arguments: storage_path(arguments[0]),
        is_instance=lambda value: isinstance(value, StoragePath),
        str_from_instance=lambda value: [str(value)],
    ),
]
"""Read from a path or a URL."""
