"""Processor seconds of every test and fixture, with the processes that they wait for: `make test-times`.

Seconds on the clock grow with whatever else the machine does; these hardly do. A process is counted when it is waited
for: one that a fixture keeps open counts for the last test that needs it.
"""

from __future__ import annotations

import resource
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

SHOWN = 30
_TESTS: dict[str, float] = {}
_FIXTURES: dict[str, float] = defaultdict(float)


def seconds() -> float:
    """Processor seconds of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    start = seconds()
    result = yield
    _TESTS[item.nodeid] = seconds() - start
    return result


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any, request: Any) -> Iterator[None]:
    start = seconds()
    result = yield
    _FIXTURES[f"{fixturedef.argname} ({fixturedef.scope}) of {fixturedef.baseid}"] += seconds() - start
    return result


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The rooms, and the most expensive files, tests and fixtures."""
    rooms, files = defaultdict[str, float](float), defaultdict[str, float](float)
    for name, used in _TESTS.items():
        file = name.partition("::")[0]
        files[file] += used
        rooms[file.rpartition("/")[0]] += used
    for title, found in (("rooms", rooms), ("files", files), ("tests", _TESTS), ("fixtures", _FIXTURES)):
        terminalreporter.section(f"processor seconds: {title}, {sum(found.values()):.0f} in all")
        for name, used in sorted(found.items(), key=lambda entry: -entry[1])[:SHOWN]:
            terminalreporter.write_line(f"{used:8.1f}  {name}")
