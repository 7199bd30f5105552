"""Signs of illness in the figures of a training, and what is said of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

Figures = Mapping[str, float]


class Threshold(NamedTuple):
    """A bound on a figure.

    Attributes:
        value: The bound.
        reason: Why it lies there.
    """

    value: float
    reason: str


THRESHOLDS: dict[str, Threshold] = {
    "winning_accuracy": Threshold(
        0.99, "of a hundred pairs of a real and a generated sample one at most is ordered wrongly"
    ),
    "winning_gradient": Threshold(
        0.02, "share of the early level; healthy runs kept 0.04 of it and more"
    ),
    "winning_logit_gradient": Threshold(
        0.01, "a saturating loss hands on D(G(z)), which is a half in balance"
    ),
    "vanishing_gradient": Threshold(1e-3, "share of the early level"),
    "vanished_gradient": Threshold(
        1e-6, "of some 10^4 weights each then has 1e-8, the epsilon of Adam, or less"
    ),
    "exploding_gradient": Threshold(
        100.0, "multiple of the early level; a step of Adam's average forgets such a one slowly"
    ),
    "exploded_gradient": Threshold(10.0, "a smaller one is large beside the early level alone"),
    "overfitting": Threshold(
        0.6, "ADA's r_v, of which its authors aim at a half of r_t; 1 is rote learning"
    ),
    "overfitting_accuracy": Threshold(
        0.7, "below it training and generated logits are too near each other to divide by"
    ),
    "diversity": Threshold(
        0.35, "healthy runs pass it within some hundred iterations and then stay near 1"
    ),
    "duplicates": Threshold(0.3, "a third of a batch has a twin in it"),
    "clipped_share": Threshold(
        0.8, "a critic that learns has a fifth of its weights there, and the rest between"
    ),
    "slope_of_target": Threshold(
        10.0, "multiple of 1, or of what a gradient penalty aims at; trained critics stay below 2"
    ),
    "growing_slope": Threshold(100.0, "multiple of the early level"),
    "steep_slope": Threshold(
        1000.0, "of points whose modes are 0.02 wide an optimal discriminator reaches hundreds"
    ),
    "swing_low": Threshold(0.25, "the discriminator takes most generated samples for real"),
    "swing_high": Threshold(
        0.75, "it tells most of them; chance swings so far with fewer than ten samples alone"
    ),
    "near_equilibrium": Threshold(
        0.1, "share of the early level of the gradient below which the weights hardly move"
    ),
    "eigenvalue": Threshold(
        0.02, "share of the largest modulus; values are taken with errors of up to a half of it"
    ),
}


@dataclass(frozen=True)
class Alarm:
    """A sign of illness.

    Attributes:
        name: What it is called.
        figures: What it looks at; it is judged where one of them was measured.
        holds: Tells by all figures, of which those that were not measured are NaN, and by the
            thresholds whether the sign is there. ``g_grad_norm/early`` and the like are multiples
            of a figure's early level, ``accuracy/least`` and ``accuracy/largest`` are of the last
            20 measurements, in whose course there were so many ``accuracy/turns``, from the one
            bound of a swing to the other.
        patience: Measurements in a row that show the sign before the alarm is raised, and that do
            not before it can be raised again.
        sentence: What is said, with figures in braces. ``{lasting}`` is for how long.
    """

    name: str
    figures: tuple[str, ...]
    holds: Callable[[Figures, Figures], bool]
    patience: int
    sentence: str


def _wins(figures: Figures, bounds: Figures) -> bool:
    return figures["accuracy"] >= bounds["winning_accuracy"] and (
        figures["g_grad_norm/early"] <= bounds["winning_gradient"]
        or figures["g_grad_logit"] <= bounds["winning_logit_gradient"]
    )


def _vanishes(figures: Figures, bounds: Figures) -> bool:
    return (
        figures["g_grad_norm/early"] <= bounds["vanishing_gradient"]
        or figures["g_grad_norm"] <= bounds["vanished_gradient"]
    )


def _explodes(figures: Figures, bounds: Figures) -> bool:
    return (
        figures["g_grad_norm/early"] >= bounds["exploding_gradient"]
        and figures["g_grad_norm"] >= bounds["exploded_gradient"]
    )


def _overfits(figures: Figures, bounds: Figures) -> bool:
    return (
        figures["overfitting"] >= bounds["overfitting"]
        and figures["accuracy"] >= bounds["overfitting_accuracy"]
    )


def _collapses(figures: Figures, bounds: Figures) -> bool:
    return (
        figures["diversity"] <= bounds["diversity"] or figures["duplicates"] >= bounds["duplicates"]
    )


def _is_clipped(figures: Figures, bounds: Figures) -> bool:
    return figures["clipped_share"] >= bounds["clipped_share"]


def _is_steep(figures: Figures, bounds: Figures) -> bool:
    grown = figures["slope_max/early"] >= bounds["growing_slope"]
    beyond = figures["slope_mean"] >= bounds["slope_of_target"] * figures["slope_target"]
    return beyond or (grown and figures["slope_max"] >= bounds["steep_slope"])


def _circles(figures: Figures, bounds: Figures) -> bool:
    # Neither rotation nor oscillation tells: healthy runs have 0.9 of the one while they learn, and
    # above 1 of the other while a loss passes 0.
    return (
        figures["accuracy/least"] <= bounds["swing_low"]
        and figures["accuracy/largest"] >= bounds["swing_high"]
        and figures["accuracy/turns"] >= 2  # a single one is a change for good
    )


def _is_unstable(figures: Figures, bounds: Figures) -> bool:
    # Far from the equilibrium a game that is learning has such eigenvalues, too.
    near = figures["g_grad_norm/early"] <= bounds["near_equilibrium"]
    least = bounds["eigenvalue"] * figures["eigenvalue_modulus"]
    return near and figures["eigenvalue"] > least


ALARMS: tuple[Alarm, ...] = (
    Alarm(
        "discriminator wins",
        ("accuracy",),
        _wins,
        5,
        "the discriminator wins everywhere (accuracy {accuracy:.2f} {lasting}, generator gradient "
        "{g_grad_norm:.1g}, at the logits {g_grad_logit:.1g}): it leaves the generator nothing to "
        "learn from, try the non-saturating loss, R1 or a gradient penalty, instance noise, or a "
        "lower rate of the discriminator.",
    ),
    Alarm(
        "vanishing gradient",
        ("g_grad_norm",),
        _vanishes,
        5,
        "the generator's gradient vanishes ({g_grad_norm:.1g} {lasting}, at first "
        "{g_grad_norm/level:.1g}): its steps are rounding and noise, try a loss that does not "
        "saturate, a wider bound where weights are clipped, or spectral normalisation.",
    ),
    Alarm(
        "exploding gradient",
        ("g_grad_norm",),
        _explodes,
        3,
        "the generator's gradient explodes ({g_grad_norm:.1g} {lasting}, at first "
        "{g_grad_norm/level:.1g}): a step may undo all others, try gradient_clip_val_g, a penalty "
        "on the discriminator's slope, a tighter bound where weights are clipped, or lower rates.",
    ),
    Alarm(
        "discriminator overfits",
        ("overfitting",),
        _overfits,
        5,
        "the discriminator learns its samples by heart (it takes held-out ones for generated, by "
        "{overfitting:.2f} of the way {lasting}): its gradient no longer speaks of the data, try "
        "ADA or DiffAugment, more data, R1, or a smaller discriminator.",
    ),
    Alarm(
        "samples collapse",
        ("diversity", "duplicates"),
        _collapses,
        5,
        "the samples of a batch are alike (diversity {diversity:.2f} of that of real ones, "
        "{duplicates:.0%} twins, {lasting}): the generator has collapsed, or not begun to learn, "
        "try packing=2, minibatch='stddev', unrolled_steps, a gradient penalty, or a lower rate of "
        "the generator.",
    ),
    Alarm(
        "weights at the bound",
        ("clipped_share",),
        _is_clipped,
        5,
        "{clipped_share:.0%} of the critic's weights lie at the clipping bound {lasting}: it can "
        "express little but signs, try a gradient penalty (WGANGP) or spectral normalisation "
        "instead of clipping, or another bound.",
    ),
    Alarm(
        "discriminator too steep",
        ("slope_max", "slope_mean"),
        _is_steep,
        2,
        "the discriminator is too steep (slope {slope_mean:.3g} on average, {slope_max:.3g} at "
        "most, {lasting}): the generator jumps where it should step, try a gradient penalty or a "
        "larger weight of it, R1, spectral normalisation, or a lower rate of the discriminator.",
    ),
    Alarm(
        "game circles",
        ("accuracy",),
        _circles,
        5,
        "the game goes in circles (accuracy between {accuracy/least:.2f} and "
        "{accuracy/largest:.2f} within {accuracy/window:,} iterations, rotation {rotation_g:.2f} "
        "and {rotation_d:.2f}, oscillation of the losses {oscillation_g:.2f} and "
        "{oscillation_d:.2f}): the networks run after each other and get nowhere, try R1, lower "
        "rates, less momentum, updates='extragradient', OptimisticAdam or LookaheadMinimax.",
    ),
    Alarm(
        "unstable equilibrium",
        ("eigenvalue",),
        _is_unstable,
        2,
        "the weights hardly move, but the game's Jacobian has an eigenvalue with the real part "
        "{eigenvalue:.2g}, {lasting}, of moduli up to {eigenvalue_modulus:.2g}: small gradient "
        "steps lead away from here, try R1 or a zero-centred gradient penalty, "
        "consensus optimisation, or 'extragradient'.",
    ),
)
NAMES: tuple[str, ...] = tuple(alarm.name for alarm in ALARMS)
