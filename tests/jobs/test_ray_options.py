"""Options of the local engine that a run on Ray refuses; needs no Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from skinclf.errors import InvalidArgumentError
from skinclf.jobs.ray.options import check_ray_options
from skinclf.jobs.shards import Shard


def test_a_plain_run_is_accepted():
    assert check_ray_options(output="out", model=["m"]) is None
    assert check_ray_options(output=Path("out"), threshold="0.25") == 0.25
    assert check_ray_options(output="out", threshold=0.5) == 0.5


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"model": ["a", "b"]}, "model"),
        ({"on_error": "fail"}, "on_error"),
        ({"tta": "flips"}, "tta"),
        ({"resume": True}, "resume"),
        ({"shard": Shard(1, 2)}, "shard"),
        ({"embeddings": "e.npy"}, "embeddings"),
        ({"format": "csv"}, "format"),
        ({"conformal": "0.9"}, "conformal"),
        ({"refer_below": 0.5}, "refer_below"),
        ({"weights": [1.0]}, "weights"),
        ({"output": "-"}, "output"),
        ({"threshold": "t.json"}, "threshold"),
    ],
)
def test_what_a_cluster_cannot_do_is_refused_by_name(options, parameter):
    with pytest.raises(InvalidArgumentError, match=f"`{parameter}`") as caught:
        check_ray_options(**{"output": "out", **options})
    assert caught.value.parameter == parameter
