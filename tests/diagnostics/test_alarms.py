"""When alarms are raised, what they say, and when they can be raised again."""

import json
import math
from string import Formatter
from typing import Any

import pytest

from lightning_gan.diagnostics.alarms import EARLY, Alarms, Raised
from lightning_gan.diagnostics.signs import ALARMS, NAMES, THRESHOLDS

HEALTHY: dict[str, float] = {
    "accuracy": 0.8, "g_grad_norm": 1.0, "g_grad_logit": 0.5, "overfitting": 0.1, "diversity": 1.0,
    "duplicates": 0.0, "clipped_share": 0.3, "slope_mean": 1.0, "slope_max": 2.0,
    "slope_target": 1.0, "rotation_g": 0.5, "rotation_d": 0.5, "oscillation_g": 0.1,
    "oscillation_d": 0.1, "eigenvalue": -0.1, "eigenvalue_modulus": 1.0,
}  # fmt: skip

# For each alarm, figures that must raise it and no other.
ILL: dict[str, list[dict[str, float]]] = {
    "discriminator wins": [
        {"accuracy": 1.0, "g_grad_norm": 5e-3},
        {"accuracy": 0.995, "g_grad_logit": 1e-4},
    ],
    "vanishing gradient": [{"g_grad_norm": 1e-5}],
    "exploding gradient": [{"g_grad_norm": 1e4}],
    "discriminator overfits": [{"overfitting": 0.9}],
    "samples collapse": [{"diversity": 0.01}, {"duplicates": 0.9}],
    "weights at the bound": [{"clipped_share": 0.99}],
    "discriminator too steep": [{"slope_mean": 50.0}, {"slope_max": 1e6}],
    "game circles": [],  # takes a course
    "unstable equilibrium": [{"eigenvalue": 0.5, "g_grad_norm": 0.05}],
}
CASES = [(name, figures) for name, cases in ILL.items() for figures in cases]


def alarmed(alarms: Alarms, figures: dict[str, float], steps: range) -> list[Raised]:
    return [one for step in steps for one in alarms.update(step, HEALTHY | figures)]


def begun(**options: Any) -> Alarms:
    """Return alarms whose grace is over, with early levels of healthy figures."""
    alarms = Alarms(**options)
    assert alarmed(alarms, {}, range(EARLY)) == []
    return alarms


def test_every_alarm_has_a_case() -> None:
    assert tuple(ILL) == NAMES


@pytest.mark.parametrize(("name", "figures"), CASES)
def test_signs_raise_their_alarm_once(name: str, figures: dict[str, float]) -> None:
    alarms = begun()
    patience = alarms.patience_of(name)
    assert alarmed(alarms, figures, range(100, 100 + patience - 1)) == []
    assert alarms.suspects([name])
    raised = alarmed(alarms, figures, range(100 + patience - 1, 200))
    assert [(one.name, one.step, one.since) for one in raised] == [(name, 99 + patience, 100)]
    assert [other for other, active in alarms.active.items() if active] == [name]
    assert not alarms.suspects(set(NAMES) - {name})


def test_healthy_figures_raise_none() -> None:
    alarms = begun()
    assert alarmed(alarms, {}, range(EARLY, 100)) == []
    assert not alarms.suspects(NAMES)


@pytest.mark.parametrize(("name", "figures"), CASES)
def test_sentences_hold_the_figures_and_advice(name: str, figures: dict[str, float]) -> None:
    alarms = begun()
    steps = range(1000, 1000 + 100 * alarms.patience_of(name), 100)
    [raised] = alarmed(alarms, figures, steps)
    assert f"for {steps[-1] - 1000:,} iterations" in raised.sentence
    assert ", try " in raised.sentence
    assert not set("{}") & set(raised.sentence)
    assert raised.sentence.endswith(".")


def test_the_sentence_of_a_winning_discriminator() -> None:
    alarms = begun()
    figures = {"accuracy": 1.0, "g_grad_norm": 3e-4, "g_grad_logit": 2e-5}
    raised = {one.name: one.sentence for one in alarmed(alarms, figures, range(0, 501, 50))}
    assert raised["discriminator wins"].startswith(
        "the discriminator wins everywhere (accuracy 1.00 for 200 iterations, generator gradient "
        "0.0003, at the logits 2e-05):"
    )
    assert raised["vanishing gradient"].startswith(
        "the generator's gradient vanishes (0.0003 for 200 iterations, at first 1)"
    )


def test_what_was_not_measured_says_so() -> None:
    alarms = Alarms(patience=1, grace=0)
    [raised] = alarms.update(7, {"diversity": 0.001})
    assert "diversity 0.00 of that of real ones, ? twins, by now" in raised.sentence


def test_alarm_is_armed_again_after_a_quiet_time() -> None:
    alarms = begun(patience=3)
    ill = ILL["samples collapse"][0]
    assert len(alarmed(alarms, ill, range(10, 13))) == 1
    assert alarmed(alarms, {}, range(13, 15)) == []
    assert alarms.active["samples collapse"]  # two of three
    assert alarmed(alarms, ill, range(15, 25)) == []
    assert alarmed(alarms, {}, range(25, 28)) == []
    assert not alarms.active["samples collapse"]
    [again] = alarmed(alarms, ill, range(30, 35))
    assert (again.step, again.since) == (32, 30)


def test_signs_must_come_in_succession() -> None:
    alarms = begun(patience=3)
    ill = ILL["samples collapse"][0]
    for start in range(10, 40, 3):
        assert alarmed(alarms, ill, range(start, start + 2)) == []
        assert alarmed(alarms, {}, range(start + 2, start + 3)) == []


def test_alarms_wait_for_their_figures() -> None:
    alarms = begun(patience=2)
    name, ill = "discriminator too steep", HEALTHY | ILL["discriminator too steep"][0]
    slopes = ("slope_mean", "slope_max", "slope_target")
    others = {key: value for key, value in ill.items() if key not in slopes}
    assert alarms.update(10, ill) == []
    assert alarms.update(11, others) == []
    assert alarms.update(12, others | dict.fromkeys(slopes, math.nan)) == []
    [raised] = alarms.update(13, ill)
    assert (raised.name, raised.since) == (name, 10)
    alarms.update(14, others)
    alarms.update(15, others)
    assert alarms.active[name]  # silence is no sign of health


def test_levels_are_the_largest_of_the_first_measurements() -> None:
    alarms = Alarms(patience=1, grace=0)
    norms = [1e-3, 0.5, math.inf, 2.0, 0.1, 0.1]
    for step, norm in enumerate(norms):
        assert not [r for r in alarms.update(step, {"g_grad_norm": norm}) if norm < math.inf]
    least = THRESHOLDS["vanishing_gradient"].value * 2.0
    assert alarms.update(10, {"g_grad_norm": 1.01 * least}) == []
    [raised] = alarms.update(11, {"g_grad_norm": 0.99 * least})
    assert raised.name == "vanishing gradient"


def test_signs_of_an_untrained_game_do_not_count() -> None:
    alarms = Alarms(patience=1)
    ill = ILL["samples collapse"][0]
    assert alarmed(alarms, ill, range(EARLY)) == []
    assert len(alarmed(alarms, ill, range(EARLY, EARLY + 1))) == 1


# Figures that raise an alarm, and changes of bounds each of which silences it.
CHANGES: list[tuple[dict[str, float], list[dict[str, float]]]] = [
    ({"accuracy": 1.0, "g_grad_norm": 5e-3}, [{"winning_accuracy": 2}, {"winning_gradient": 0}]),
    ({"accuracy": 1.0, "g_grad_logit": 1e-4}, [{"winning_logit_gradient": 0}]),
    ({"g_grad_norm": 1e-5}, [{"vanishing_gradient": 0}]),
    ({"g_grad_norm": 1e-7}, [{"vanishing_gradient": 0, "vanished_gradient": 0}]),
    ({"g_grad_norm": 1e4}, [{"exploding_gradient": 1e9}, {"exploded_gradient": 1e9}]),
    ({"overfitting": 0.9}, [{"overfitting": 1}, {"overfitting_accuracy": 0.9}]),
    ({"diversity": 0.01}, [{"diversity": 0}]),
    ({"duplicates": 0.9}, [{"duplicates": 1}]),
    ({"clipped_share": 0.99}, [{"clipped_share": 1}]),
    ({"slope_mean": 50.0}, [{"slope_of_target": 100}]),
    ({"slope_max": 1e6}, [{"growing_slope": 1e9}, {"steep_slope": 1e9}]),
    (
        {"eigenvalue": 0.5, "g_grad_norm": 0.05},
        [{"eigenvalue": 1}, {"near_equilibrium": 0.01}],
    ),
]


@pytest.mark.parametrize(("figures", "changes"), CHANGES)
def test_bounds_can_be_changed_by_name(
    figures: dict[str, float], changes: list[dict[str, float]]
) -> None:
    assert len(alarmed(begun(patience=1), figures, range(10, 11))) == 1
    for change in changes:
        assert alarmed(begun(patience=1, thresholds=change), figures, range(10, 11)) == []


@pytest.mark.parametrize("change", [{}, {"swing_low": 0.0}, {"swing_high": 1.0}])
def test_a_discriminator_that_wins_and_loses_in_turn_goes_in_circles(
    change: dict[str, float],
) -> None:
    alarms = begun(thresholds=change)
    raised = []
    for step in range(EARLY, 40):
        accuracy = 0.1 if step % 10 < 5 else 0.9
        raised += alarms.update(step, HEALTHY | {"accuracy": accuracy})
    assert [one.name for one in raised] == ([] if change else ["game circles"])
    assert change or "accuracy between 0.10 and 0.90 within 14 iterations" in raised[0].sentence


@pytest.mark.parametrize(
    "course",
    [
        {0: 0.8, 5: 0.1, 6: 0.8},  # a dip
        {0: 0.2, 11: 0.8},  # changes for good
        {0: 0.85, 11: 0.2},
        {0: 0.5, 4: 0.2, 9: 0.8},
        {0: 0.2, 9: 0.5, 11: 0.8},
    ],
)
def test_what_changes_once_is_no_circle(course: dict[int, float]) -> None:
    alarms = begun()
    accuracy = math.nan
    for step in range(40):
        accuracy = course.get(step, accuracy)
        assert alarms.update(step, HEALTHY | {"accuracy": accuracy}) == []


def test_every_bound_has_a_reason_and_is_tried() -> None:
    tried = {name for _, changes in CHANGES for change in changes for name in change}
    assert tried | {"swing_low", "swing_high"} == THRESHOLDS.keys()
    assert all(bound.reason for bound in THRESHOLDS.values())


def test_forgetting_signs_keeps_levels() -> None:
    alarms = begun(patience=2)
    alarmed(alarms, ILL["samples collapse"][0], range(10, 13))
    alarms.clear()
    assert not alarms.suspects(NAMES)
    assert not alarms.settled
    ill = {"g_grad_norm": 1e4}
    assert alarmed(alarms, ill, range(20, 20 + EARLY + 1)) == []  # grace, and one of two
    [raised] = alarmed(alarms, ill, range(30, 31))
    assert raised.name == "exploding gradient"
    alarms.reset()
    assert alarmed(alarms, ill, range(30, 50)) == []


@pytest.mark.parametrize("cut", range(1, 12))
def test_goes_on_from_its_state(cut: int) -> None:
    course: list[dict[str, float]] = (
        [{}] * EARLY + [ILL["samples collapse"][0]] * 3 + [{}] * 2 + [{"g_grad_norm": 1e4}] * 3
    )
    whole = Alarms(patience=2)
    expected = [whole.update(i, HEALTHY | figures) for i, figures in enumerate(course)]
    first, second = Alarms(patience=2), Alarms(patience=2)
    actual = [first.update(i, HEALTHY | course[i]) for i in range(cut)]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    actual += [second.update(i, HEALTHY | course[i]) for i in range(cut, len(course))]
    assert actual == expected
    assert sum(map(len, actual)) == 2
    assert second.state_dict() == whole.state_dict()


def test_sentences_name_known_figures() -> None:
    known = {*HEALTHY, "lasting", "g_grad_norm/level"}
    known |= {f"accuracy/{name}" for name in ("least", "largest", "window")}
    for alarm in ALARMS:
        fields = Formatter().parse(alarm.sentence)
        names = {name for _, name, _, _ in fields if name is not None}
        assert names <= known
        assert set(alarm.figures) <= known
        assert names & {"lasting", "accuracy/window"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thresholds": {"colour": 1.0}}, "Expected 'thresholds' to be .* got colour=1.0"),
        ({"thresholds": {"diversity": math.nan}}, "got diversity=nan"),
        ({"patience": 0}, "Expected 'patience' to be at least 1, got 0"),
        ({"grace": -1}, "Expected 'grace' to be non-negative, got -1"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Alarms(**options)
