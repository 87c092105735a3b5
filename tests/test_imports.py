"""What can be imported without what: networks without the rest, commands before their work."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrct.version import __version__

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = [
    "fsspec",
    "isal",
    "jinja2",
    "matplotlib",
    "monai",
    "nibabel",
    "nvidia.dali",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "optuna",
    "pandas",
    "PIL",
    "psutil",
    "pyarrow",
    "pydicom",
    "ray",
    "rich",
    "scipy",
    "SimpleITK",
    "tensorboard",
    "tensorstore",
    "torchmetrics",
    "tyro",
    "upath",
    "yaml",
    "zarr",
]
"""What the project uses beside torch, numpy, safetensors and jaxtyping."""
IMPORT = r"(?:^|;) *from ([\w.]+) import ([\w, ]+)"
BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if any(name == each or name.startswith(each + ".") for each in {names!r}):
            raise ImportError(name + " is imported")

sys.meta_path.insert(0, Blocked())
"""
CORE = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in [
        *(ROOT / "cyclegan/nets").glob("*.py"),
        *(ROOT / "cyclegan/train/engine").glob("*.py"),
        ROOT / "cyclegan/train/checkpoint/checkpoint.py",
        ROOT / "cyclegan/train/checkpoint/folder.py",
    ]
    if path.stem != "__init__"
)
COMMANDS = {
    "data_prep": ["describe"],
    "cyclegan.train": ["no-such-preset"],
    "cyclegan.contrast": [],
    "cyclegan.anchor": [],
    "cyclegan.evaluate": ["--split", "all"],
    "cyclegan.export": [],
    "cyclegan.translate": ["model"],
    "tune": ["run", "weights", "--trials", "0"],
    "cluster": ["submit", "--target", "moon"],
}
"""Each with a wrong use of it."""


def run_blocked(names: list[str], code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code where some modules cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", BLOCK.format(names=names) + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_networks_losses_step_and_checkpoint_need_torch_and_safetensors_only():
    imports = "".join(f"import {name}\n" for name in CORE)

    done = run_blocked(LIBRARIES, imports)

    assert done.returncode == 0, done.stderr


def test_scores_that_every_process_of_a_run_imports_need_no_torchmetrics():
    done = run_blocked(["torchmetrics"], "import cyclegan.metrics.unpaired_scores\n")

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_its_work_only_when_it_works(command):
    heavy = [each for each in LIBRARIES if each not in ("tyro", "upath", "fsspec")]
    code = (
        "import runpy\n"
        f"for argv in (['--help'], ['--version'], {COMMANDS[command]!r}):\n"
        f"    sys.argv = ['-m', *argv]\n"
        "    try:\n"
        f"        runpy.run_module({command!r}, run_name='__main__')\n"
        "    except SystemExit as end:\n"
        "        print('ends with', end.code)\n"
    )

    done = run_blocked([*heavy, "numpy", "torch"], code)

    ends = [line for line in done.stdout.splitlines() if line.startswith("ends with")]
    codes = ["ends with 0", "ends with 0", "ends with 2"]
    assert [line.replace("None", "0") for line in ends] == codes, done.stderr
    assert f"usage: python -m {command}" in done.stdout
    assert __version__ in done.stdout.splitlines()


def programs_in_strings() -> Iterator[tuple[str, str, str]]:
    """Where tests hold a program for another process as text: each of our names that it uses, as
    module and name."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            text = node.value if isinstance(node, ast.Constant) else None
            for module, names in re.findall(IMPORT, str(text), re.MULTILINE):
                if not (ROOT / module.split(".")[0]).is_dir():
                    continue
                where = f"{path.relative_to(ROOT)}:{node.lineno}"
                for name in names.split(", "):
                    yield where, module, name
                    inner = f"{module}.{name}"
                    if (ROOT / inner.replace(".", "/")).with_suffix(".py").exists():
                        for used in re.findall(rf"\b{name}\.(\w+)", str(text)):
                            yield where, inner, used


def names_of(path: Path) -> set[str]:
    """All that a module defines, assigns or imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())) if path.exists() else ():
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Name(id=name):
                names.add(name)
            case ast.alias(name=name, asname=alias):
                names.add(alias or name)
    return names


def test_programs_in_strings_use_names_that_exist():
    found = list(programs_in_strings())
    wrong = []
    for where, module, name in found:
        path = ROOT / module.replace(".", "/")
        if name not in (
            {each.stem for each in path.glob("*")} or names_of(path.with_suffix(".py"))
        ):
            wrong.append(f"{where}: {module} has no {name}")

    assert len(found) > 20
    assert wrong == []
