"""Options of the local engine that a run on Ray refuses; needs no Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from skinclf.errors import InvalidArgumentError
from skinclf.jobs.ray.options import check_ray_options
from skinclf.jobs.shards import Shard


def test_a_plain_run_is_accepted():
    check_ray_options(output="out", model=["m"])
    check_ray_options(output=Path("out"))


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
    ],
)
def test_what_a_cluster_cannot_do_is_refused_by_name(options, parameter):
    with pytest.raises(InvalidArgumentError, match=f"`{parameter}`") as caught:
        check_ray_options(**{"output": "out", **options})
    assert caught.value.parameter == parameter
