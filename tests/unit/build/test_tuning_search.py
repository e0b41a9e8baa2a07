"""The search, on surfaces whose optimum is known and with a clock that only measuring moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from alexnet_build.tuning.bounds import Ladder, counts, ladders, same_threads
from alexnet_build.tuning.compare import Rules, Trial, Turn
from alexnet_build.tuning.errors import CandidateRefusedError, TuningError
from alexnet_build.tuning.search import Found, search
from alexnet_build.tuning.settings import Tuning

TURN_S = 3.0
LADDERS = (
    Ladder("preprocess_instances", (1, 2, 3, 4, 6, 8)),
    Ladder("alexnet_instances", (1, 2, 4)),
    Ladder("alexnet_batch_sizes", ((4,), (8,), (16,), ())),
    Ladder("intra_op_threads", (0, 1, 2), ordered=False),
)


class Surface:
    """Measures a function of the settings; remembers what was measured, and when."""

    def __init__(self, images_per_s: Callable[[Tuning], float], alone_s: Callable[[Tuning], float] | None = None):
        self.images_per_s = images_per_s
        self.alone_s = alone_s or (lambda tuning: 0.030)
        self.measured: list[Tuning] = []
        self.now_s = 100.0

    def measure(self, tuning: Tuning) -> Turn:
        self.measured.append(tuning)
        self.now_s += TURN_S
        images_per_s = self.images_per_s(tuning)
        return Turn(100, images_per_s, 32 / images_per_s, 40 / images_per_s, self.alone_s(tuning))

    def searched(self, seconds: float = 1e6, rules: Rules | None = None, start: Tuning | None = None) -> Found:
        rules, start = rules or Rules(), start or Tuning()
        return search(start, LADDERS, self.measure, rules, seconds=seconds, now_s=lambda: self.now_s)


def hill(tuning: Tuning) -> float:
    """Best at 6 processes, 2 copies, batches of 8 and 2 threads."""
    distance = abs(LADDERS[0].values.index(tuning.preprocess_instances) - 4)
    distance += abs(LADDERS[1].values.index(tuning.alexnet_instances) - 1)
    distance += abs(LADDERS[2].values.index(tuning.alexnet_batch_sizes) - 1)
    distance += (1, 2, 0)[tuning.intra_op_threads]
    return 100 * 0.9**distance


def doubled_by(**settings: object) -> Callable[[Tuning], float]:
    return lambda tuning: 200.0 if all(getattr(tuning, name) == value for name, value in settings.items()) else 100.0


def trials_of(found: Found, setting: str) -> list[Trial]:
    return [trial for trial in found.trials if trial.setting == setting]


def test_search_finds_the_best_settings_of_a_hill() -> None:
    found = Surface(hill).searched()
    best = Tuning(preprocess_instances=6, alexnet_instances=2, alexnet_batch_sizes=(8,), intra_op_threads=2)
    assert found.best == best
    assert found.complete
    assert found.not_tried == ()
    together = found.trials[-1]
    assert (together.setting, together.taken, together.ratio) == ("all", True, pytest.approx(1 / 0.9**7))
    assert found.figures is not None
    assert found.figures.images_per_s == 100


def test_search_stays_within_the_bounds_when_more_is_always_better() -> None:
    surface = Surface(lambda tuning: 10.0 * tuning.preprocess_instances * tuning.alexnet_instances)
    found = surface.searched()
    assert (found.best.preprocess_instances, found.best.alexnet_instances) == (8, 4)
    assert {tuning.preprocess_instances for tuning in surface.measured} == {2, 3, 4, 6, 8}


def test_search_turns_back_where_a_second_pass_is_better() -> None:
    """With two copies, fewer processes are better: seen only once there are two copies."""

    def coupled(tuning: Tuning) -> float:
        return 100.0 + 50 * (tuning.alexnet_instances == 2) - 20 * abs(tuning.preprocess_instances - wanted(tuning))

    def wanted(tuning: Tuning) -> int:
        return 1 if tuning.alexnet_instances == 2 else 2

    found = Surface(coupled).searched()
    assert (found.best.preprocess_instances, found.best.alexnet_instances) == (1, 2)


def test_search_takes_turns_as_best_candidate_candidate_best() -> None:
    surface = Surface(doubled_by(preprocess_instances=3))
    surface.searched()
    asked = [tuning.preprocess_instances for tuning in surface.measured]
    assert asked[:9] == [2, 2, 3, 3, 2, 2, 3, 3, 2]


def test_search_gives_a_slower_candidate_one_block_only() -> None:
    found = Surface(lambda tuning: 100.0 / tuning.preprocess_instances).searched(start=Tuning(preprocess_instances=1))
    assert [len(trial.turns) for trial in trials_of(found, "preprocess_instances")] == [4]
    assert trials_of(found, "preprocess_instances")[0].why == "not better"
    assert found.best == found.start


def test_gain_below_the_least_that_counts_is_not_taken() -> None:
    found = Surface(lambda tuning: 101.5 if tuning.preprocess_instances == 3 else 100.0).searched()
    assert found.best == found.start
    assert trials_of(found, "preprocess_instances")[0].why == "within what counts as a gain of 2.0%"


def test_gain_within_the_noise_of_the_best_is_not_taken() -> None:
    turns = iter([0] + [10, 0] * 1000)  # the best's own turns differ by up to a tenth

    def noisy(tuning: Tuning) -> float:
        return 104.0 if tuning.preprocess_instances == 3 else 95.0 + next(turns)

    trial = trials_of(Surface(noisy).searched(), "preprocess_instances")[0]
    assert trial.noise == pytest.approx(0.05)
    assert trial.ratio == pytest.approx(1.04)
    assert (trial.taken, trial.why) == (False, "within the noise of 5.0%")


def test_candidate_that_is_not_better_in_each_of_its_turns_is_not_taken() -> None:
    turns = iter([120.0, 120.0, 102.0, 120.0])

    def unsteady(tuning: Tuning) -> float:
        if tuning.preprocess_instances == 3:
            return next(turns)
        return 103.0 if surface.now_s < 100 + 2.5 * TURN_S else 100.0

    surface = Surface(unsteady)
    trial = trials_of(surface.searched(seconds=33 * TURN_S), "preprocess_instances")[0]
    assert (trial.ratio, trial.noise) == (pytest.approx(1.2), pytest.approx(0.015))
    assert (trial.taken, trial.why) == (False, "not better in each of its turns")


def test_what_won_by_luck_is_dropped_at_the_end() -> None:
    calls = {3: 0}

    def lucky(tuning: Tuning) -> float:
        if tuning.preprocess_instances != 3:
            return 100.0
        calls[3] += 1
        return 150.0 if calls[3] <= 4 else 100.0

    found = Surface(lucky).searched(seconds=17 * TURN_S + 1)  # time for one trial and the confirmation
    assert [(trial.setting, trial.taken) for trial in found.trials] == [("preprocess_instances", True), ("all", False)]
    assert found.best == found.start
    assert found.figures is not None
    assert found.figures.images_per_s == 100


def test_candidate_that_slows_a_lone_request_is_not_taken() -> None:
    slower = Surface(doubled_by(alexnet_instances=2), lambda tuning: 0.0336 if tuning.alexnet_instances == 2 else 0.030)
    found = slower.searched()
    assert found.best == found.start
    assert trials_of(found, "alexnet_instances")[0].why == (
        "one request alone takes 33.6 instead of 30.0 ms, at most 1.10 times as long is allowed"
    )
    assert slower.searched(rules=Rules(max_latency_loss=0.15)).best.alexnet_instances == 2


def test_small_losses_of_latency_do_not_add_up() -> None:
    surface = Surface(
        lambda tuning: 10.0 * tuning.preprocess_instances, lambda tuning: 0.030 * 1.08**tuning.preprocess_instances
    )
    assert surface.searched().best.preprocess_instances == 3  # from 2; the next step would be 17 % in all


def test_candidate_over_the_limit_of_the_99th_percentile_is_not_taken() -> None:
    class Queueing(Surface):
        def measure(self, tuning: Tuning) -> Turn:
            return replace(super().measure(tuning), p99_s=0.2 * tuning.alexnet_instances)

    faster = Queueing(lambda tuning: 100.0 * tuning.alexnet_instances)
    assert faster.searched().best.alexnet_instances == 4
    found = faster.searched(rules=Rules(max_p99_s=0.3))
    assert found.best.alexnet_instances == 1
    assert trials_of(found, "alexnet_instances")[0].why == "its p99 of 400 ms is over the limit of 300 ms"


def test_over_the_limit_the_search_is_for_a_shorter_99th_percentile() -> None:
    class Queueing(Surface):
        def measure(self, tuning: Tuning) -> Turn:
            return replace(super().measure(tuning), p99_s=0.2 * tuning.alexnet_instances)

    found = Queueing(lambda tuning: 100.0 * tuning.alexnet_instances).searched(
        rules=Rules(max_p99_s=0.25), start=Tuning(alexnet_instances=4)
    )
    assert found.best.alexnet_instances == 1  # slower, but within the limit
    assert [trial.ratio for trial in trials_of(found, "alexnet_instances")] == pytest.approx([2, 2])


def test_search_ends_in_time_and_names_what_it_did_not_try() -> None:
    surface = Surface(hill)
    begun_s = surface.now_s
    found = surface.searched(seconds=120)
    assert surface.now_s - begun_s <= 120
    assert not found.complete
    assert found.trials[-1].setting == "all"
    assert found.not_tried == (
        "preprocess.instances",
        "alexnet.instances",
        "alexnet.preferred_batch_size",
        "alexnet.intra_op_thread_count",
    )


def test_search_without_time_for_a_trial_has_no_figures() -> None:
    found = Surface(hill).searched(seconds=10)
    assert (found.trials, found.figures, found.best) == ((), None, found.start)


def test_candidate_that_the_server_refuses_is_passed_over() -> None:
    class Refusing(Surface):
        def measure(self, tuning: Tuning) -> Turn:
            if tuning.alexnet_instances == 2:
                raise CandidateRefusedError("out of memory")
            return super().measure(tuning)

    found = Refusing(doubled_by(preprocess_instances=3)).searched()
    assert found.best == Tuning(preprocess_instances=3)
    refused = trials_of(found, "alexnet_instances")[0]
    assert (refused.candidate, refused.taken) == (None, False)
    assert refused.why == "the server would not load it: out of memory"


def test_candidate_with_failing_or_wrong_answers_is_not_taken() -> None:
    class Failing(Surface):
        def measure(self, tuning: Tuning) -> Turn:
            turn = super().measure(tuning)
            broken = tuning.preprocess_instances == 3
            return replace(turn, failed=2, wrong=1, error="INTERNAL: no memory") if broken else turn

    found = Failing(doubled_by(preprocess_instances=3)).searched()
    assert found.best == found.start
    assert found.trials[0].why == "4 requests failed, 2 answers were wrong (INTERNAL: no memory)"


def test_search_ends_when_requests_fail_with_the_settings_that_are_there() -> None:
    class Failing(Surface):
        def measure(self, tuning: Tuning) -> Turn:
            return replace(super().measure(tuning), failed=3, error="model is gone")

    with pytest.raises(TuningError, match=r"3 requests failed, 0 answers were wrong \(model is gone\)"):
        Failing(hill).searched()


def test_settings_that_come_to_the_same_threads_are_not_compared() -> None:
    assert same_threads(Tuning(), Tuning(decode_threads=1, intra_op_threads=2), cores=2)
    assert same_threads(Tuning(), Tuning(decode_threads=4, intra_op_threads=8), cores=8)
    assert not same_threads(Tuning(), Tuning(decode_threads=2), cores=2)
    assert not same_threads(Tuning(), Tuning(preprocess_instances=1), cores=2)


@pytest.mark.parametrize(
    ("most", "expected"),
    [(1, (1,)), (2, (1, 2)), (4, (1, 2, 3, 4)), (6, (1, 2, 3, 4, 6)), (16, (1, 2, 3, 4, 8, 12, 16))],
)
def test_counts_reach_from_1_to_the_most(most: int, expected: tuple[int, ...]) -> None:
    assert counts(most) == expected


def test_bounds_on_a_gpu_are_the_cores_for_decoding_and_two_copies_of_the_network() -> None:
    on_gpu = {ladder.setting: ladder.values for ladder in ladders("tensorrt", 16, 64, 32)}
    assert on_gpu["preprocess_instances"] == (1, 2, 3, 4, 8, 12, 16)
    assert on_gpu["alexnet_instances"] == (1, 2)
    assert "intra_op_threads" not in on_gpu
    on_cpu = {ladder.setting: ladder.values for ladder in ladders("onnxruntime", 2, 64, 32)}
    assert on_cpu["preprocess_instances"] == (1, 2, 3, 4)
    assert on_cpu["intra_op_threads"] == (0, 1, 2)
    assert on_cpu["alexnet_batch_sizes"] == ((4,), (8,), (16,), ())


def test_bounds_hold_no_batch_that_cannot_come_about() -> None:
    values = {ladder.setting: ladder.values for ladder in ladders("onnxruntime", 8, 8, 32)}
    assert values["alexnet_batch_sizes"] == ((4,), ())
    assert {ladder.setting: ladder.values for ladder in ladders("tensorrt", 8, 64, 4)}["alexnet_batch_sizes"] == ((),)


def test_value_that_is_on_no_ladder_is_compared_with_all_of_it() -> None:
    assert Ladder("max_queue_delay_us", (0, 200, 1000)).neighbours(300) == [[0], [200], [1000]]
    assert Ladder("max_queue_delay_us", (0, 200, 1000)).neighbours(200) == [[1000], [0]]
