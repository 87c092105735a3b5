"""Names that become paths: the one check that every name passes which was read, not made here.

The records, manifests and file names of a store, a run, a search or a bucket state the names of
further files, and may have been crafted: a name with `..` would let a command read or delete files
outside of its folder.
"""

import re
from typing import Protocol, Self, TypeVar

from mrct.errors import UserError
from mrct.storage.local_path import LocalPath

ANY_NAME = r"[^/\\\0]+(?:/[^/\\\0]+)*"
"""Any relative path in plain parts."""


def printable(text: str) -> str:
    r"""Return a name as it may be printed: what a terminal would obey, and newlines, as escapes.

    Examples:
        >>> print(printable("scan\x1b[2J\nDone.nii"))
        scan\x1b[2J\nDone.nii
    """
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


class _Folder(Protocol):
    @property
    def local(self) -> LocalPath | None: ...

    def __truediv__(self, name: str, /) -> Self: ...


Folder = TypeVar("Folder", bound=_Folder)


def is_plain(name: str, pattern: str = ANY_NAME) -> bool:
    """Return whether a name fits a regular expression and leads to no other folder by `.` or `..`.

    Examples:
        >>> is_plain("mri/0123"), is_plain("mri/"), is_plain("../mri"), is_plain("/mri")
        (True, False, False, False)
    """
    return (
        re.fullmatch(pattern, name) is not None
        and re.fullmatch(ANY_NAME, name) is not None
        and not {".", ".."} & {*name.split("/")}
    )


def safe_join(root: Folder, name: str, pattern: str, otherwise: UserError) -> Folder:
    """Return the path of an entry below `root`, or raise `otherwise`.

    Args:
        root: Folder that the path may not leave.
        name: Path relative to it, as read from a file or a listing.
        pattern: Regular expression of all names that this project gives to such entries.
        otherwise: Raised if the name has another form, or if a link on the way leads elsewhere.
            The last part may be a link, which can be deleted without following it.
    """
    if not is_plain(name, pattern):
        raise otherwise
    if root.local:
        inner = name.split("/")[:-1]
        if (root.local.joinpath(*inner)).resolve() != root.local.resolve().joinpath(*inner):
            raise otherwise
    return root / name
