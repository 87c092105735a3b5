"""What becomes of memory that batches leave behind: the process keeps it for the next ones.

glibc hands large freed blocks back to the kernel, which clears their pages anew for the next batch:
docs/scaling.md says what that costs. It knows nothing of what lies in the memory.
"""

import ctypes

# From malloc.h: free memory at the end of a heap that is kept, and the size from which a block is
# the kernel's own; glibc takes at most 32 MiB for the second.
_M_TRIM_THRESHOLD, _KEPT_BYTES = -1, 2**26
_M_MMAP_THRESHOLD, _HEAP_BYTES = -3, 2**25


def keep_freed_memory() -> None:
    """Tell the C library, for good; nothing where it is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _HEAP_BYTES)
