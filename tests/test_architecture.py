"""The architecture is a promise that machines keep: one direction of flow, one home per library."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Each imports only from those before it.
FLOW = [
    "mrct.errors",
    "mrct.version",
    "mrct.user",
    "mrct.storage",
    "mrct.imaging",
    "mrct.drawing",
    "mrct.progress",
    "mrct.host_limits",
    "mrct.stop_signals",
    "mrct.job_stop",
    "mrct.process_pool",
    "mrct.ray_session",
    "mrct.ray_tasks",
    "mrct.help",
    "mrct.cli",
    "data_prep.readers",
    "data_prep.dicom",
    "data_prep.datasets",
    "data_prep.sources",
    "data_prep.preprocess",
    "data_prep.store",
    "data_prep.convert",
    "data_prep.phantom",
    "data_prep.__main__",
    "cyclegan.errors",
    "cyclegan.config",
    "cyclegan.nets",
    "cyclegan.data",
    "cyclegan.metrics",
    "cyclegan.atlas",
    "cyclegan.contrast.value_bins",
    "cyclegan.contrast.likelihood",
    "cyclegan.contrast.random_field",
    "cyclegan.contrast.table",
    "cyclegan.contrast.counts",
    "cyclegan.contrast.fit",
    "cyclegan.contrast.train_table",
    "cyclegan.contrast.table_file",
    "cyclegan.contrast.guide",
    "cyclegan.inference",
    "cyclegan.anchor",
    "cyclegan.export.formats",
    "cyclegan.export.training_stats",
    "cyclegan.export.seen",
    "cyclegan.export.metadata",
    "cyclegan.export.model_folder",
    "cyclegan.train.distributed",
    "cyclegan.train.engine",
    "cyclegan.train.monitor",
    "cyclegan.train.checkpoint",
    "cyclegan.contrast.command",
    "cyclegan.contrast.run_table",
    "cyclegan.contrast.__main__",
    "cyclegan.train.training_plan",
    "cyclegan.train.batch_size",
    "cyclegan.train.periodic_events",
    "cyclegan.train.divergence",
    "cyclegan.train.validation",
    "cyclegan.train.training_run",
    "cyclegan.train.true_pairs",
    "cyclegan.train.first_state",
    "cyclegan.train.loop",
    "cyclegan.train.dry_run",
    "cyclegan.train.find_rate",
    "cyclegan.train.run",
    "cyclegan.train.__main__",
    "cyclegan.export",
    "cyclegan.evaluate",
    "cyclegan.anchor.command",
    "cyclegan.anchor.run_anchor",
    "cyclegan.anchor.__main__",
    "cyclegan.translate",
    "cyclegan.__main__",
    "tune.space",
    "tune.time_budget",
    "tune.search",
    "tune.report",
    "tune.__main__",
    "cluster",
]
HOMES = {
    "nibabel": {"data_prep/readers/nifti.py"},
    "pydicom": {
        "data_prep/readers/pixel_codecs.py",
        "data_prep/dicom/files.py",
        "data_prep/dicom/tags.py",
        "cyclegan/translate/dicom_ct.py",
        "cyclegan/translate/dicom_source.py",
    },
    "monai": {"mrct/imaging/geometry.py"},
    "isal": {"data_prep/readers/raw_voxels.py"},
    "SimpleITK": {
        "data_prep/readers/label_file.py",
        "mrct/imaging/bias_field.py",
        "mrct/imaging/deformation.py",
        "mrct/imaging/itk_image.py",
        "mrct/imaging/registration.py",
    },
    "zarr": {"data_prep/store/zarr_codec.py"},
    "fsspec": {"mrct/storage/object_path.py"},
    "tensorstore": {"cyclegan/data/reader.py"},
    "nvidia": {"cyclegan/data/dali.py"},
    "torchmetrics": {"cyclegan/metrics/unpaired_scores.py"},
    "torch.distributed": {"cyclegan/train/distributed.py", "cluster/doctor/bandwidth.py"},
    "torch.utils.tensorboard": {
        "cyclegan/train/monitor/metrics_log.py",
        "cyclegan/train/monitor/telemetry.py",
    },
    "ray": {
        "data_prep/convert/executor.py",
        "mrct/ray_session.py",
        "mrct/ray_tasks.py",
        "cyclegan/train/run/launch.py",
        "cyclegan/train/run/process_group.py",
        "tune/search/callbacks.py",
        "tune/search/schedulers.py",
        "tune/search/search.py",
        "tune/search/trial.py",
        "cluster/submit/ray_jobs.py",
        "cluster/wait_for_nodes.py",
        "cluster/doctor/doctor.py",
    },
    "wandb": {"cyclegan/train/monitor/trackers.py"},
    "optuna": {"tune/search/sampler.py"},
    "ray.train": {
        "cyclegan/train/run/launch.py",
        "cyclegan/train/run/process_group.py",
        "tune/search/trial.py",
    },
    "ray.tune": {
        "tune/search/callbacks.py",
        "tune/search/schedulers.py",
        "tune/search/search.py",
        "tune/search/trial.py",
    },
    "matplotlib": {"mrct/drawing/slices.py", "mrct/drawing/curves.py"},
    "tyro": {
        "mrct/cli.py",
        "mrct/help.py",
        "data_prep/__main__.py",
        "data_prep/convert/settings.py",
        "cyclegan/config/flags.py",
        "cyclegan/anchor/command.py",
        "cyclegan/contrast/command.py",
        "cyclegan/train/__main__.py",
        "cyclegan/evaluate/command.py",
        "cyclegan/export/command.py",
        "cyclegan/translate/command.py",
        "tune/__main__.py",
        "cluster/__main__.py",
    },
    "argparse": set(),
    "jinja2": {"cyclegan/evaluate/report/report.py", "tune/report/report.py"},
    "onnx": {"cyclegan/export/formats.py"},
    "onnxruntime": {"cyclegan/export/formats.py"},
}
HOUNSFIELD = ROOT / "mrct/imaging/hounsfield.py"
NO_THRESHOLD = {"EDGES_HU", "HU_EDGES", "BIN_HU", "HOLDER_HU"}
"""Written where they are used: bins of histograms, and the material of the phantom's holder."""
SOURCES = sorted(
    path
    for package in ("mrct", "data_prep", "cyclegan", "tune", "cluster")
    for path in (ROOT / package).rglob("*.py")
)


def imports_of(path: Path) -> set[str]:
    """Every module that a file names in an import, as dotted names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def stage_of(module: str) -> int | None:
    """The place of a module in the flow, by the longest name; None for what is not ours."""
    stages = [stage for stage in FLOW if module == stage or module.startswith(f"{stage}.")]
    return FLOW.index(max(stages, key=len)) if stages else None


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_backwards_along_the_flow(path):
    own = stage_of(module_of(path))
    if own is None:
        assert path.name == "__init__.py", f"{path} belongs to no stage"
        return

    ahead = {name for name in imports_of(path) if (stage := stage_of(name)) and stage > own}

    assert not ahead, f"{path.relative_to(ROOT)} imports from a later stage: {ahead}"


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_has_one_home(library):
    users = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if any(name == library or name.startswith(f"{library}.") for name in imports_of(path))
    }

    assert users <= HOMES[library]


def test_files_stay_short_and_are_named_for_a_noun():
    for path in SOURCES:
        length = len(path.read_text().splitlines())
        assert length <= 300, f"{path.relative_to(ROOT)} has {length} lines: split it by noun"
        assert path.stem not in {"utils", "helpers", "common", "base", "misc"}


def test_a_folder_holds_about_a_dozen_modules():
    for folder in {path.parent for path in SOURCES}:
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= 14, f"{folder.relative_to(ROOT)} holds {len(modules)}: part it"


def test_every_module_says_what_it_owns():
    for path in SOURCES:
        if path.name != "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text())), path


PATH_HOMES = {
    "mrct/storage/paths.py",
    "mrct/storage/local_path.py",
    "mrct/storage/object_path.py",
    "mrct/cli.py",  # is a default of a command line one?
}
PATH_TYPES = {"Path", "PosixPath", "PurePath", "LocalPath", "ObjectPath", "StoragePath", "PathLike"}


def questions_of_type(tree: ast.AST) -> set[str]:
    """The names of the types that a file asks a value for."""
    asked: list[ast.AST] = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass")):
                asked += node.args[1:]
            case ast.MatchClass():
                asked.append(node.cls)
    names = [node for each in asked for node in ast.walk(each)]
    return {node.id for node in names if isinstance(node, ast.Name)} | {
        node.attr for node in names if isinstance(node, ast.Attribute)
    }


def test_nobody_asks_whether_a_path_is_local():
    asks = "isinstance(x, (str, pathlib.Path))\nmatch x:\n    case LocalPath(): pass"
    assert questions_of_type(ast.parse(asks)) >= {"Path", "LocalPath"}

    askers = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if questions_of_type(ast.parse(path.read_text())) & PATH_TYPES
    }

    assert askers <= PATH_HOMES


def test_a_path_costs_the_standard_library_alone():
    code = "import sys, mrct.storage.paths; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    loaded = {name.partition(".")[0] for name in told.stdout.decode().split()}

    assert "mrct" in loaded
    assert not loaded & {"fsspec", "upath", "pyarrow", "s3fs", "tyro", "numpy", "rich"}


def constants_of(path: Path) -> Iterator[tuple[str, ast.expr]]:
    """The constants of a module, without a leading underscore, and what they are bound to."""
    for node in ast.parse(path.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        for target in targets:
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs = zip(target.elts, value.elts, strict=True)
            else:
                pairs = iter([(target, value)])
            for name, bound in pairs:
                if isinstance(name, ast.Name) and name.id.isupper() and bound is not None:
                    yield name.id.lstrip("_"), bound


def test_no_two_constants_of_one_name_differ():
    bound: dict[str, dict[str, str]] = defaultdict(dict)
    for path in SOURCES:
        for name, value in constants_of(path):
            bound[name][str(path.relative_to(ROOT))] = ast.unparse(value)

    differing = {name: at for name, at in bound.items() if len(set(at.values())) > 1}

    assert not differing, "two quantities need two names, and one needs one definition"


def test_hounsfield_units_are_written_in_one_place():
    def is_written(value: ast.expr) -> bool:  # below 10 it is an index or a count
        numbers = [node.value for node in ast.walk(value) if isinstance(node, ast.Constant)]
        return any(isinstance(number, int | float) and number >= 10 for number in numbers)

    elsewhere = {
        name: str(path.relative_to(ROOT))
        for path in SOURCES
        for name, value in constants_of(path)
        if "HU" in name.split("_") and is_written(value) and path != HOUNSFIELD
    }

    assert elsewhere.keys() == NO_THRESHOLD


def test_the_network_code_of_a_step_knows_no_device_worker_or_file():
    names = imports_of(ROOT / "cyclegan/train/engine/step.py")

    assert not {name.split(".")[0] for name in names} & {"ray", "pathlib", "os", "time"}
    assert not any(name.startswith("torch.distributed") for name in names)


def test_what_values_show_is_judged_in_one_module_and_by_nobody_after_the_readers():
    judge = ROOT / "data_prep/readers/value_checks.py"
    users = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if "data_prep.readers.value_checks.check_values" in imports_of(path)
    }
    others = {
        (code, str(path.relative_to(ROOT)))
        for path in SOURCES
        if path != judge
        for code in codes_of(path) & codes_of(judge)
    }

    # The last for volumes that come from memory.
    assert users == {
        "data_prep/readers/formats.py",
        "data_prep/dicom/reader.py",
        "cyclegan/translate/engine.py",
    }
    # Not by its values but by the tag of that name: DICOM alone has it.
    assert others == {("modality-conflict", "data_prep/dicom/attribute_checks.py")}


def codes_of(path: Path) -> set[str]:
    """The codes of all refusals that a file makes."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return {
        call.args[0].value
        for call in calls
        if getattr(call.func, "id", "") == "VolumeError"
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }


def test_of_ray_only_what_is_public_is_used():
    private = re.compile(r"\b(ray(\.\w+)*\._\w+)|ray\.train\.v2")
    users = {str(path.relative_to(ROOT)) for path in SOURCES if private.search(path.read_text())}

    # The name of a logger, whose one line at each start is no news.
    assert users <= {"mrct/ray_session.py"}


def test_no_scheduler_reaches_into_those_of_ray():
    tree = ast.parse((ROOT / "tune/search/schedulers.py").read_text())

    reached = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}

    assert not {name for name in reached | defined if re.match("_[^_]", name)}
