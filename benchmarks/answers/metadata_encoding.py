r"""Compare a Keras file that takes age, sex and site beside the image with its own framework.

    python -m benchmarks.answers.metadata_encoding model.keras --encoding encoding.json \
        --labels akiec,bcc,bkl,df,mel,nv,vasc --preprocess raw-tensorflow

Drawn lesions, one with every entry, one with none, go through Keras itself and three runtimes of skinclf; printed is
the largest difference of a probability, as JSON. Keras computes in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from skinclf._utils.environment import versions
from skinclf.images.synthetic import synthetic_lesion
from skinclf.inference.predictor import Predictor
from skinclf.models.load import load_model
from skinclf.models.options import ModelOptions
from skinclf.tables.patient_metadata import Patient

ENTRIES = (
    {"age": 70, "sex": "male", "site": "face"},
    {},
    {"age": 20, "sex": "female", "site": "back"},
    {"age": 45, "site": "foot"},
)
THEIRS = """
import sys, keras, numpy as np
given = np.load(sys.argv[2])
model = keras.saving.load_model(sys.argv[1], compile=False)
order = [given["pixels"] if len(x.shape) == 4 else given["vectors"] for x in model.inputs]
np.save(sys.argv[3], np.asarray(model(order, training=False)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--encoding", type=Path, required=True)
    parser.add_argument("--labels", required=True)
    parser.add_argument("--preprocess", required=True)
    args = parser.parse_args()
    options = ModelOptions(labels=args.labels, preprocess=args.preprocess, metadata_encoding=args.encoding)
    model = load_model(args.model, options=options)
    encoding, prepare = model.spec.encoding, model.spec.preprocess
    if encoding is None:
        raise SystemExit("The model takes the image alone.")
    images = [synthetic_lesion(seed) for seed in range(len(ENTRIES))]
    pixels = prepare.normalize(np.stack([prepare.pixels(image) for image in images]))
    vectors = encoding.encode([Patient.of(one) for one in ENTRIES])
    with TemporaryDirectory() as scratch:
        given, made = Path(scratch) / "given.npz", Path(scratch) / "made.npy"
        np.savez(given, pixels=pixels.transpose(0, 2, 3, 1), vectors=vectors)
        command = [sys.executable, "-c", THEIRS, str(args.model), str(given), str(made)]
        subprocess.run(command, check=True, capture_output=True)
        theirs = np.load(made)
    if theirs.shape[1] == 1:
        theirs = np.concatenate([1 - theirs, theirs], axis=1)
    found = {}
    for runtime in ("torch", "openvino", "onnxruntime"):
        own = Predictor(model, runtime=runtime, device="cpu", workers=0).predict(
            images, metadata=list(ENTRIES)
        )
        found[runtime] = float(np.abs(np.stack([p.values for p in own]) - theirs).max())
    print(json.dumps({"largest difference": found, "versions": versions()}, indent=1))


if __name__ == "__main__":
    main()
