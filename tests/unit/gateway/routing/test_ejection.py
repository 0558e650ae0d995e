"""Ejection of a group: pauses, probes, and what overtaken news is worth."""

from llama_serving.gateway.routing.ejection import MAX_PAUSE, STRIKES, Health


def ejected(*, now: float = 0.0, base_pause: float = 1.0) -> Health:
    health = Health(base_pause)
    health.unreachable(epoch=0, now=now)
    return health


def test_a_hard_fault_ejects_at_once_and_the_probe_waits_for_the_pause() -> None:
    health = ejected(now=5.0)
    assert health.ejected
    assert health.probe_at == 6.0


def test_strikes_eject_only_as_a_series() -> None:
    health = Health(1.0)
    for _ in range(STRIKES - 1):
        health.strike(now=3.0, may_eject=True)
        assert not health.ejected
    health.strike(now=3.0, may_eject=True)
    assert (health.ejected, health.struck_out, health.probe_at) == (True, True, 4.0)


def test_one_that_nobody_can_do_without_stays_until_somebody_can() -> None:
    health = Health(1.0)
    for _ in range(STRIKES + 5):
        health.strike(now=3.0, may_eject=False)
        assert not health.ejected
    health.strike(now=4.0, may_eject=True)
    assert health.ejected


def test_a_doubt_is_probed_at_once_and_ejects_nobody() -> None:
    health = Health(1.0)
    for _ in range(100):
        health.doubt(epoch=0, now=3.0)
        assert (health.ejected, health.probe_at) == (False, 3.0)


def test_good_probes_of_doubts_come_ever_later_until_a_whole_answer() -> None:
    health, now, pauses = Health(1.0), 0.0, []
    for _ in range(8):
        health.doubt(epoch=0, now=now)
        assert health.probe_at is not None
        pauses.append(health.probe_at - now)
        now = health.probe_at
        health.probed(token=health.start_probe(), good=True, now=now)
    assert pauses == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, MAX_PAUSE, MAX_PAUSE]
    health.answered(0)
    health.probed(token=health.start_probe(), good=True, now=now)
    health.doubt(epoch=0, now=now)
    assert health.probe_at == now + 1.0


def test_doubts_during_a_probe_wait_for_its_result() -> None:
    health = Health(1.0)
    health.doubt(epoch=0, now=0.0)
    token = health.start_probe()
    for _ in range(100):
        health.doubt(epoch=0, now=0.1)
    assert health.probe_at is None
    health.probed(token=token, good=False, now=0.2)
    assert health.ejected


def test_a_probe_that_could_not_be_made_says_nothing_and_is_made_again() -> None:
    health = Health(1.0)
    health.doubt(epoch=0, now=0.0)
    health.probed(token=health.start_probe(), good=None, now=0.5)
    assert (health.ejected, health.proof, health.probe_at) == (False, 0, 1.5)
    health = ejected()
    health.probed(token=health.start_probe(), good=None, now=1.0)
    assert (health.ejected, health.probe_at) == (True, 2.0)


def test_who_was_struck_out_comes_back_when_there_is_no_other() -> None:
    health = Health(1.0)
    for _ in range(STRIKES):
        health.strike(now=0.0, may_eject=True)
    health.pardon()
    assert (health.ejected, health.epoch) == (False, 1)
    dead = ejected()
    dead.pardon()
    assert dead.ejected


def test_an_answer_between_ends_the_series() -> None:
    health = Health(1.0)
    for _ in range(10):
        health.strike(now=0.0, may_eject=True)
        health.answered(0)
    assert not health.ejected


def test_failures_of_many_requests_at_once_are_one_ejection() -> None:
    health = ejected(now=0.0)
    for now in (0.1, 0.2, 0.3):
        health.unreachable(epoch=0, now=now)
    assert health.probe_at == 1.0


def test_bad_probes_double_the_pause_up_to_its_limit() -> None:
    health = ejected(now=0.0)
    pauses = []
    for _ in range(70):
        now = health.probe_at
        assert now is not None
        health.probed(token=health.start_probe(), good=False, now=now)
        assert health.probe_at is not None
        pauses.append(health.probe_at - now)
    assert pauses[:6] == [2.0, 4.0, 8.0, 16.0, MAX_PAUSE, MAX_PAUSE]
    assert set(pauses[6:]) == {MAX_PAUSE}


def test_a_good_probe_brings_the_group_back_but_the_next_pause_is_longer_until_a_real_answer() -> None:
    health = ejected(now=0.0)
    health.probed(token=health.start_probe(), good=True, now=1.0)
    assert not health.ejected
    health.unreachable(epoch=health.epoch, now=10.0)
    assert health.probe_at == 12.0
    health.probed(token=health.start_probe(), good=True, now=12.0)
    health.answered(health.epoch)
    health.unreachable(epoch=health.epoch, now=20.0)
    assert health.probe_at == 21.0


def test_a_late_failure_from_before_the_return_says_nothing() -> None:
    health = ejected()
    health.probed(token=health.start_probe(), good=True, now=1.0)
    health.unreachable(epoch=0, now=2.0)
    assert not health.ejected


def test_a_probe_that_a_failure_overtook_does_not_end_the_pause() -> None:
    health = Health(1.0)
    health.doubt(epoch=0, now=0.0)
    token = health.start_probe()
    health.unreachable(epoch=0, now=0.1)
    health.probed(token=token, good=True, now=0.2)
    assert health.ejected


def test_a_bad_probe_of_a_suspect_ejects_it() -> None:
    health = Health(1.0)
    health.doubt(epoch=0, now=0.0)
    health.probed(token=health.start_probe(), good=False, now=0.5)
    assert (health.ejected, health.probe_at) == (True, 1.5)


def test_discovery_overrules_everything() -> None:
    health = ejected()
    token = health.start_probe()
    health.became_ready()
    assert (health.ejected, health.probe_at) == (False, None)
    health.probed(token=token, good=False, now=1.0)
    assert not health.ejected
    health.unreachable(epoch=health.epoch, now=5.0)
    assert health.probe_at == 6.0


def test_only_a_sign_of_life_counts_as_proof() -> None:
    health = Health(1.0)
    health.doubt(epoch=0, now=0.0)
    assert health.proof == 0
    health.probed(token=health.start_probe(), good=True, now=0.1)
    assert health.proof == 1
    assert health.epoch == 0
