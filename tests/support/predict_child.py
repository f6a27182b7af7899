"""`skinclf predict` with the numpy scorer, for tests that kill it: it starts in a blink and takes its time.

Usage: predict_child.py SECONDS_PER_BATCH [arguments of skinclf]
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])
    from skinclf.inference import predictor
    from skinclf_cli.main import main
    from support.fake_scorer import FakeScorer

    real, seconds = predictor.Predictor, float(sys.argv.pop(1))

    class FakePredictor(real):  # type: ignore[misc, valid-type]
        def __init__(self, model: object = None, **options: object) -> None:
            known = {
                k: v for k, v in options.items() if k in {"batch_size", "workers", "processes", "threshold"}
            }
            super().__init__(model if isinstance(model, FakeScorer) else FakeScorer(seconds=seconds), **known)

    predictor.Predictor = FakePredictor  # type: ignore[misc]
    main()
