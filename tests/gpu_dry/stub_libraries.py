"""Two libraries that stand in for CUDA's runtime and driver on a machine without a GPU.

torch then finds two devices like an H200: memory is the host's, copies are memcpy, kernels do
nothing. `runtime.c` and `driver.c` define what must return something; whatever else torch and
Triton import succeeds and does nothing.

    python -m tests.gpu_dry.stub_libraries FOLDER

Run it with the Python of the environment that holds the CUDA build of torch. It needs gcc and
binutils. FOLDER then holds `RUNTIME`, which goes into LD_PRELOAD, and `DRIVER`, for which FOLDER
goes into LD_LIBRARY_PATH.
"""

import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

RUNTIME = "libcudart_stub.so"
DRIVER = "libcuda.so.1"
HERE = Path(__file__).parent
SITE = Path(sysconfig.get_path("purelib"))
INCLUDES = ("nvidia/cu13/include", "triton/backends/nvidia/include")
"""torch's CUDA comes without the headers in `crt`; Triton brings them."""


def build(folder: Path) -> None:
    """Compile both libraries into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    torch_libraries = sorted((SITE / "torch/lib").glob("*.so"))
    imported = undefined_symbols(torch_libraries)
    compile_library(HERE / "runtime.c", folder / RUNTIME, only(r"cuda[A-Z]\w+", imported))
    loaded = strings_of(SITE / "torch/lib/libc10_cuda.so")
    triton = SITE / "triton/backends/nvidia/driver.c"
    named = re.findall(r"\bcu[A-Z]\w+\b", triton.read_text())
    compile_library(
        HERE / "driver.c",
        folder / DRIVER,
        only(r"cu[A-Z](?!.*(?:_t|_enum|_st|Handle)$)\w+", {*imported, *loaded, *named}),
    )


def compile_library(source: Path, library: Path, wanted: set[str]) -> None:
    """Compile a source, with a function that returns 0 for each wanted one that it lacks."""
    includes = [f"-I{SITE / folder}" for folder in INCLUDES]
    written, rest = library.with_suffix(".o"), library.with_suffix(".rest.c")
    gcc("-c", source, *includes, "-o", written)
    lacking = sorted(wanted - symbols("--defined-only", libraries=[written]))
    rest.write_text("".join(f"int {name}(void) {{ return 0; }}\n" for name in lacking))
    gcc("-shared", f"-Wl,-soname,{library.name}", written, rest, "-ldl", "-o", library)


def gcc(*arguments: str | Path) -> None:
    subprocess.run(["gcc", "-fPIC", "-O1", "-Wall", "-Werror", *arguments], check=True)


def undefined_symbols(libraries: Iterable[Path]) -> set[str]:
    """The symbols that libraries import, without versions."""
    return symbols("--dynamic", "--undefined-only", libraries=libraries)


def symbols(*options: str, libraries: Iterable[Path]) -> set[str]:
    out = subprocess.run(["nm", *options, *libraries], check=True, capture_output=True, text=True)
    return {line.split()[-1].split("@")[0] for line in out.stdout.splitlines() if " " in line}


def strings_of(library: Path) -> set[str]:
    """The strings of a library that are names: those of functions that it loads by name."""
    found = re.findall(rb"\0(cu[A-Z]\w{3,60})(?=\0)", library.read_bytes())
    return {name.decode() for name in found}


def only(pattern: str, names: Iterable[str]) -> set[str]:
    return {name for name in names if re.fullmatch(pattern, name)}


if __name__ == "__main__":
    build(Path(sys.argv[1]))
