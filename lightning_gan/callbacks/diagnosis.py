"""What the diagnostics of a run leave in its folder: a report, its alarms, a picture."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from lightning_gan.callbacks.history import Measured
from lightning_gan.callbacks.pictures import drawn, save_picture
from lightning_gan.diagnostics.alarms import Raised

MEANINGS: dict[str, str] = {
    "real_logit_mean": "mean logit of real samples",
    "fake_logit_mean": "mean logit of generated samples",
    "accuracy": "share of real-generated pairs in the right order; 0.5 cannot tell, 1 wins",
    "wasserstein": "mean logit of real samples minus that of generated ones",
    "overfitting": "how far held-out samples look generated; 0 not, 1 entirely",
    "g_grad_logit": "gradient of the generator's loss at the logits, summed magnitudes",
    "g_grad_norm": "norm of its gradient at the weights",
    "diversity": "distance of two generated samples over that of two real ones",
    "duplicates": "share of generated samples with a twin in the batch, beyond that of real ones",
    "clipped_share": "share of the discriminator's weights at the clipping bound",
    "rotation_g": "cosine of the generator's move to its move before",
    "rotation_d": "cosine of the discriminator's move to its move before",
    "oscillation_g": "swing of the generator's loss, relative to its size",
    "oscillation_d": "swing of the discriminator's loss, relative to its size",
    "slope_mean": "mean slope of the discriminator at samples",
    "slope_max": "largest slope of the discriminator at samples",
    "slope_target": "slope that its gradient penalty, or its loss, aims at",
    "largest_layer_norm": "largest operator norm of its layers",
    "lipschitz_bound": "product of its layers' norms, which bounds its slope",
    "eigenvalue": "largest real part of the game's eigenvalues; above 0 it is unstable",
    "eigenvalue_modulus": "largest modulus of them",
    "eigenvalue_rotation": "imaginary over real part of the fastest turning eigenvalue",
}

_SPREAD = {
    "std": "standard deviation",
    "q05": "5 % quantile",
    "q50": "median",
    "q95": "95 % quantile",
}
MEANINGS |= {
    f"{kind}_logit_{part}": f"{meaning} of the logits of {samples} samples"
    for kind, samples in {"real": "real", "fake": "generated"}.items()
    for part, meaning in _SPREAD.items()
}

# For each panel: what is drawn by its name in the legend, and whether the axis is logarithmic.
PANELS: dict[str, tuple[dict[str, str], bool]] = {
    "discriminator": (
        {"accuracy": "accuracy", "overfitting": "overfitting"},
        False,
    ),
    "generator's gradient": ({"g_grad_norm": "at weights", "g_grad_logit": "at logits"}, True),
    "samples, weights": (
        {"diversity": "diversity", "duplicates": "twins", "clipped_share": "clipped"},
        False,
    ),
    "slope": (
        {"slope_mean": "mean", "slope_max": "largest", "lipschitz_bound": "layers' bound"},
        True,
    ),
    "moves: cosine": (
        {"rotation_g": "generator", "rotation_d": "discriminator"},
        False,
    ),
}
LOGITS = {"real": ("real", "C0"), "fake": ("generated", "C1")}


def write_diagnosis(
    folder: Path, history: Sequence[Measured], raised: Sequence[Raised], active: Iterable[str]
) -> None:
    """Write ``report.md``, ``alarms.json`` and ``curves.png``.

    Args:
        folder: Where to; made if need be.
        history: The measurements in their order, at least one.
        raised: All alarms that were raised, in their order.
        active: Names of those that still are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    going_on = [_goes_on(one, raised, set(active)) for one in raised]
    pairs = zip(raised, going_on, strict=True)
    alarms = [one._asdict() | {"still": still} for one, still in pairs]
    (folder / "alarms.json").write_text(json.dumps(alarms, indent=2) + "\n")
    (folder / "report.md").write_text(report(history, raised, set(active)))
    save_picture(draw_diagnosis(history, raised), folder / "curves.png")


def report(history: Sequence[Measured], raised: Sequence[Raised], active: set[str]) -> str:
    """Return what was found, in Markdown."""
    lines = [
        "# Diagnostics",
        "",
        f"{len(history):,} measurements, evenly over {history[-1].step:,} generator iterations.",
        "",
        "## Alarms",
        "",
    ]
    for one in raised:
        still = ", and still" if _goes_on(one, raised, active) else ""
        lines.append(
            f"- **{one.name}**, raised at iteration {one.step:,}, since {one.since:,}{still}: "
            f"{one.sentence}"
        )
    lines += [] if raised else ["None was raised."]
    lines += ["", "## Figures", "", "| figure | first | median | last | what it is |"]
    lines.append("|---|---|---|---|---|")
    names = {name: None for one in history for name in one.figures}
    for name in [*(n for n in MEANINGS if n in names), *(n for n in names if n not in MEANINGS)]:
        values = [one.figures[name] for one in history if name in one.figures]
        shown = " | ".join(f"{value:.4g}" for value in (values[0], median(values), values[-1]))
        lines.append(f"| {name} | {shown} | {MEANINGS.get(name, '')} |")
    return "\n".join(lines) + "\n"


def _goes_on(one: Raised, raised: Sequence[Raised], active: set[str]) -> bool:
    """Tell whether an alarm is raised since then, of several of one name the last."""
    return one.name in active and not any(
        other.name == one.name and other.step > one.step for other in raised
    )


def draw_diagnosis(history: Sequence[Measured], raised: Sequence[Raised]) -> Tensor:
    """Draw the figures over a run, and when alarms were raised.

    Args:
        history: The measurements in their order, at least one.
        raised: Alarms.

    Returns:
        (3, 900, 1000) uint8. Grey is the time from the first sign to the alarm, which has a number.
    """
    figure = Figure(figsize=(10, 9), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    numbers = {name: i + 1 for i, name in enumerate(dict.fromkeys(one.name for one in raised))}
    said = ["Diagnostics of the run", *(f"{number}: {name}" for name, number in numbers.items())]
    figure.suptitle("   ".join(said))
    figure.supxlabel("generator iterations")
    panels = list(figure.subplots(3, 2, sharex=True).flat)
    _draw_logits(panels[0], history)
    for axes, (title, (names, logarithmic)) in zip(panels[1:], PANELS.items(), strict=True):
        axes.set_title(title, loc="left", fontsize="medium")
        for i, (name, label) in enumerate(names.items()):
            _draw_curve(axes, history, name, label=label, color=f"C{i}")
        if logarithmic and axes.lines:
            axes.set_yscale("log")
    if any("eigenvalue" in one.figures for one in history):
        _draw_curve(panels[5], history, "eigenvalue", label="eigenvalue", color="C2")
    for axes in panels:
        if axes.lines:
            axes.legend(
                loc="lower right", bbox_to_anchor=(1, 0.98), ncols=3, frameon=False, fontsize=8
            )
    for axes in panels:
        for one in raised:
            _mark(axes, one, numbers[one.name])
    return drawn(canvas)


def _draw_logits(axes: Axes, history: Sequence[Measured]) -> None:
    axes.set_title("logits: mean, 5 to 95 %", loc="left", fontsize="medium")
    for kind, (label, color) in LOGITS.items():
        name = f"{kind}_logit"
        _draw_curve(axes, history, f"{name}_mean", label=label, color=color)
        known = [one for one in history if f"{name}_q05" in one.figures]
        low, high = ([one.figures[f"{name}_{q}"] for one in known] for q in ("q05", "q95"))
        axes.fill_between([one.step for one in known], low, high, color=color, alpha=0.2, lw=0)


def _draw_curve(axes: Axes, history: Sequence[Measured], name: str, label: str, color: str) -> None:
    known = [(one.step, one.figures[name]) for one in history if name in one.figures]
    if known:
        marker = "." if len(known) < 100 else ""
        axes.plot(*zip(*known, strict=True), marker=marker, lw=1, label=label, color=color)


def _mark(axes: Axes, alarm: Raised, number: int) -> None:
    axes.axvspan(alarm.since, alarm.step, color="0.5", alpha=0.2, lw=0)
    axes.axvline(alarm.step, color="k", lw=0.8, ls="--")
    place = (alarm.step, 1.04 - 0.07 * number)  # below those of other alarms
    transform = axes.get_xaxis_transform()
    axes.annotate(f" {number}", place, xycoords=transform, va="top", fontsize=9, weight="bold")
