"""The lease, by an injected clock: when it holds, when it lapses, how it begins again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.node.lease import Lease

T = 10.0  # seconds; a lease is half of it


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lapsed(clock: Clock) -> Lease:
    """A lease that lapsed a while ago."""
    lease = Lease(clock, T, clock.now)
    clock.now += 2 * T
    assert lease.remaining() == 0
    return lease


def test_lasts_half_a_session_timeout_from_the_sending(clock: Clock) -> None:
    lease = Lease(clock, T, sent=clock.now - 1)
    assert lease.remaining() == T / 2 - 1
    clock.now += T / 2 - 1
    assert lease.remaining() == 0
    clock.now += 100
    assert lease.remaining() == 0


def test_a_write_extends_it_from_its_sending_not_from_its_answer(clock: Clock) -> None:
    lease = Lease(clock, T, clock.now)
    sent = clock.now + 1
    clock.now += 3
    lease.acknowledged(sent)
    assert lease.remaining() == T / 2 - 2


def test_answers_out_of_order_never_shorten_it(clock: Clock) -> None:
    lease = Lease(clock, T, clock.now)
    clock.now += 2
    lease.acknowledged(clock.now)
    lease.acknowledged(clock.now - 1)
    assert lease.remaining() == T / 2


def test_an_answer_that_comes_after_the_lapse_extends_nothing(clock: Clock) -> None:
    lease = Lease(clock, T, clock.now)
    sent = clock.now + T / 2 - 0.1
    clock.now += T / 2
    lease.acknowledged(sent)
    assert lease.remaining() == 0


def test_one_write_does_not_revive_it(clock: Clock, lapsed: Lease) -> None:
    lapsed.acknowledged(clock.now)
    assert lapsed.remaining() == 0


def test_two_writes_half_a_timeout_apart_revive_it(clock: Clock, lapsed: Lease) -> None:
    began = clock.now
    while clock.now < began + T / 2:
        lapsed.acknowledged(clock.now)
        assert lapsed.remaining() == 0
        clock.now += T / 10
    lapsed.acknowledged(clock.now)
    assert lapsed.remaining() == T / 2


def test_writes_too_close_together_do_not(clock: Clock, lapsed: Lease) -> None:
    for _ in range(49):
        lapsed.acknowledged(clock.now)
        clock.now += T / 100
    assert lapsed.remaining() == 0


def test_a_silence_between_the_two_writes_starts_the_count_again(
    clock: Clock, lapsed: Lease
) -> None:
    lapsed.acknowledged(clock.now)
    clock.now += T  # as long as a session lives without a word
    lapsed.acknowledged(clock.now)
    assert lapsed.remaining() == 0


def test_a_lost_connection_between_them_starts_the_count_again(clock: Clock, lapsed: Lease) -> None:
    for _ in range(4):
        lapsed.acknowledged(clock.now)
        clock.now += T / 10
    lapsed.interrupted()
    clock.now += T / 10
    lapsed.acknowledged(clock.now)
    assert lapsed.remaining() == 0


def test_a_lost_connection_alone_does_not_end_it(clock: Clock) -> None:
    lease = Lease(clock, T, clock.now)
    lease.interrupted()
    assert lease.remaining() == T / 2


@given(
    st.lists(st.tuples(st.floats(0, T), st.floats(0, T), st.booleans()), min_size=1, max_size=60)
)
def test_never_holds_longer_than_half_a_timeout_after_the_last_sending(
    steps: list[tuple[float, float, bool]],
) -> None:
    """Whatever the writes' timing: what is promised stays within what was proven."""
    clock = Clock()
    lease = Lease(clock, T, clock.now)
    last = clock.now
    for pause, latency, interrupted in steps:
        clock.now += pause
        if interrupted:
            lease.interrupted()
        sent = clock.now
        clock.now += latency
        lease.acknowledged(sent)
        last = max(last, sent)
        assert lease.remaining() <= max(0.0, last + T / 2 - clock.now) + 1e-9
