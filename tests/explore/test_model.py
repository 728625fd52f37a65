"""The model is ZooKeeper: random programs see the same on both."""

import itertools
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from programs import Step, programs, run

from labkit.lab.lab import Lab

SOME = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
PROGRAMS = int(os.environ.get("LABKIT_TEST_PROGRAMS", "2000"))  # where there is little time: fewer
MANY = settings(SOME, max_examples=PROGRAMS * 3 // 4)
MANY_IN_AN_ENSEMBLE = settings(SOME, max_examples=PROGRAMS // 4)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[list[str]]:
    with Lab(nodes=0, backend="process", record=False) as lab:
        yield [str(server.endpoint) for server in lab.zookeeper.servers]


@pytest.fixture(scope="module")
def ensemble() -> Iterator[list[str]]:
    with Lab(nodes=0, ensemble=3, backend="process", record=False) as lab:
        yield [str(server.endpoint) for server in lab.zookeeper.servers]


def base() -> str:
    return f"/program-{os.getpid()}-{next(_numbers)}"


@pytest.mark.slow
@pytest.mark.timeout(400)  # on a machine that has other work
@given(program=programs)
@SOME
def test_a_program_sees_the_same(server: list[str], program: list[Step]) -> None:
    run(program, server, base())


@pytest.mark.long
@pytest.mark.timeout(900)  # where the machine has other work
@given(program=programs)
@MANY
def test_many_programs_see_the_same(server: list[str], program: list[Step]) -> None:
    run(program, server, base())


@pytest.mark.long
@pytest.mark.timeout(900)  # where the machine has other work
@given(program=programs)
@MANY_IN_AN_ENSEMBLE
def test_many_programs_see_the_same_in_an_ensemble(
    ensemble: list[str], program: list[Step]
) -> None:
    run(program, ensemble, base())
