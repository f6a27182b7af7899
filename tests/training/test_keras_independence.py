"""Training in TensorFlow stands without Lightning and without the PyTorch trainer."""

from __future__ import annotations

import subprocess
import sys

import pytest

CHECK = """
import sys
import skinclf_training.keras.export
import skinclf_training.keras.trainer
names = ("lightning", "pytorch_lightning", "skinclf_training.torch")
print([name for name in sys.modules if name.split(".")[0] in names or name.startswith("skinclf_training.torch")])
"""


@pytest.mark.tensorflow
def test_tensorflow_training_imports_no_lightning():
    pytest.importorskip("tensorflow")
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
