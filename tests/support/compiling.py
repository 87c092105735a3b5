"""What tests need that run torch's compiler."""

import os
import shutil

import pytest

COMPILER_MARKS = [
    pytest.mark.skipif(
        "CYCLEGAN_NO_SHAPE_CHECKS" not in os.environ,
        reason="the shape checks break graphs; `make test-all` runs these in a call without",
    ),
    pytest.mark.skipif(
        shutil.which(os.environ.get("CXX", "g++")) is None, reason="needs a C++ compiler (g++)"
    ),
    # What torch's own compiler trips over: its use of TorchScript, of a parametrized weight, and of
    # an instance of each autograd function that it traces.
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated"),
    pytest.mark.filterwarnings("ignore:.*Function.> should not be instantiated"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]
