"""Methods of training beside each other: same data, same judge, same seeds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from matplotlib.figure import Figure

from lightning_gan.lab.comparison_figure import draw_comparison
from lightning_gan.lab.experiment import Experiment, Finding, Row
from lightning_gan.lab.judged_run import judged_run
from lightning_gan.lab.judges import Judge
from lightning_gan.lab.published import published_rows, read_bars
from lightning_gan.lab.recipes import Recipe, build, recipe
from lightning_gan.lab.standings import (
    JUDGED,
    OTHERS,
    Judged,
    Standing,
    beside,
    judged_of,
    standings,
)
from lightning_gan.lab.tables import markdown
from lightning_gan.training.arguments import check_choice


class Comparison(Experiment):
    """Train methods that differ in little, and count what each one reaches.

    Models, data and callbacks are described as in configurations of ``lightning-gan fit``, short
    class names included; what a description leaves out is the class's own default. A method says
    what differs from ``model``, as a JSON merge patch: nested dictionaries are merged, null takes
    away, all else replaces. Under ``run`` it may hold ``data``, merged likewise, and ``callbacks``,
    ``steps`` and ``ema_decay`` of its own::

        plain GAN: {}
        R1 0.1: {init_args: {penalties: [{class_path: R1, init_args: {weight: 0.1}}]}}
        lookahead: {run: {callbacks: [{class_path: LookaheadMinimax, init_args: {steps: 5}}]}}

    Where a schedule's ``images`` is a percentage, it is that share of ``steps`` times the batch
    size: 100% is the whole run for one update of the discriminator an iteration.

    Args:
        name: Under which ``lightning-gan lab`` has this experiment, for the commands in its table.
        title: Headline of the figure.
        data: ``class_path`` and ``init_args`` of the data module.
        model: Of the model that all methods begin from.
        methods: For each method, what differs.
        judge: ``class_path`` and ``init_args`` of what counts.
        baseline: Method that the others are compared with.
        steps: Iterations of the generator.
        seeds: Of weights, latents and order.
        every_n_steps: Iterations between two points of the curves; None for the end alone.
        ema_decay: Of the average of the generator.
        judged: Which generator the headline figures are of: the ``average``, the ``last`` one, or
            the ``best`` of all points by its reverse divergence, which is chosen by the figure that
            it is praised for; or by the methods' names, ``others`` for the rest.
        published: Rows of papers; see :class:`~lightning_gan.lab.published.Published`.
        bars: What a method must reach for each figure, such as ``>= 24.8``.
        only: Method, or methods, to train; None for all.
        root: Folder of the data's files, in place of its own.
        accelerator: Lightning's name of the device.

    Raises:
        ValueError: If an argument is out of range or names what there is not; from :meth:`trials`,
            if a method cannot be built.
    """

    choices = ("methods", "seeds", "steps", "only", "root")
    shown = ("name", "title", "baseline", "judged", "published", "bars")

    def __init__(
        self,
        name: str,
        title: str,
        data: dict[str, Any],
        model: dict[str, Any],
        methods: dict[str, dict[str, Any]],
        judge: dict[str, Any],
        baseline: str | None = None,
        steps: int = 1000,
        seeds: Sequence[int] = (0,),
        every_n_steps: int | None = None,
        ema_decay: float = 0.999,
        judged: Judged | dict[str, Judged] = "average",
        published: Sequence[dict[str, Any]] = (),
        bars: dict[str, str] | None = None,
        only: Sequence[str] | str | None = None,
        root: str | None = None,
        accelerator: str = "cpu",
    ) -> None:
        for argument, value in {"steps": steps, "every_n_steps": every_n_steps}.items():
            if value is not None and value < 1:
                raise ValueError(f"Expected '{argument}' to be at least 1, got {value}.")
        if not seeds:
            raise ValueError("Expected 'seeds' to hold at least one, got none.")
        self.name = name
        self.title = title
        self.data = data
        self.model = model
        self.methods = methods
        self.judge = judge
        self.baseline = baseline
        self.steps = steps
        self.seeds = seeds
        self.every_n_steps = every_n_steps
        self.ema_decay = ema_decay
        self.judged = judged
        self.published = published
        self.bars = bars or {}
        self.only = only
        self.root = root
        self.accelerator = accelerator
        self._judge: Judge = build(Judge, judge)  # type: ignore[type-abstract]
        self._published = published_rows(published, self._judge.counts)
        self._bars = read_bars(self.bars, self._judge.counts)
        self._chosen = list(methods) if only is None else [only] if isinstance(only, str) else only
        for argument, chosen in {
            "baseline": [baseline or next(iter(methods))],
            "only": self._chosen,
            "judged": [] if isinstance(judged, str) else [m for m in judged if m != OTHERS],
        }.items():
            for method in chosen:
                check_choice(argument, method, methods)
        self._judged = {method: judged_of(judged, method) for method in methods}

    def trials(self) -> Iterator[Row]:
        """Yield the methods for each seed, once all were built, so that mistakes show early."""
        recipes = {method: self._recipe(method, self.steps) for method in self._chosen}
        for method, made in recipes.items():
            with _naming(method):
                data = made.build_data(self.root)
                self._judge.check(data)
                made.build_model(data.batch_size)
                made.build_callbacks()
        for seed in self.seeds:
            for method, made in recipes.items():
                yield {
                    "method": method,
                    "seed": seed,
                    "steps": made.steps,
                    "recipe": made.digest(),
                }

    def measure(self, **trial: Any) -> Row:
        """Train a method once; see :func:`~lightning_gan.lab.judged_run.judged_run`."""
        made = self._recipe(trial["method"], trial["steps"])
        return judged_run(
            made, self._judge, trial["seed"], self.every_n_steps, self.root, self.accelerator
        )

    def findings(self, rows: Sequence[Row]) -> list[Finding]:
        """Tell of each method whether it helps, and whether it reaches the bars."""
        all_of_them = self._standings(rows)
        helped = [
            self._helped(standing, base)
            for standing in all_of_them
            if (base := beside(standing, all_of_them, self.baseline)) is not None
        ]
        tried = [one for one in all_of_them if self._bars and one.method != self.baseline]
        return [*map(self._reached, tried), *helped]

    def draw(self, rows: Sequence[Row]) -> Figure:
        """Draw every seed of every method beside what is published, and some of the samples.

        Raises:
            ValueError: If no row is of one of the methods as they are now.
        """
        found = self._standings(rows)
        if not found:
            made = list(dict.fromkeys(row["method"] for row in rows))
            raise ValueError(
                f"Expected results of 'methods' as they are now, {list(self.methods)}, got rows "
                f"of {made} with other settings or names. Give the --config that they were made "
                "with."
            )
        return draw_comparison(
            self.title,
            found,
            self._judge,
            self._recipe(next(iter(self.methods)), self.steps).build_data(),
            self.baseline,
            self._published,
            self._bars,
        )

    def table(self, rows: Sequence[Row]) -> str:
        """Return means and standard deviations over the seeds, and the published rows."""
        all_of_them = self._standings(rows)
        if not all_of_them:
            return ""
        counts = self._judge.counts
        called = self.called or f"lightning-gan lab {self.name}"
        shown = JUDGED if self.every_n_steps else JUDGED[:2]
        names = [f"{which}: {count.label}" for which in shown for count in counts.values()]
        lines = [["method", *names, "CPU ms", "runs", "budget", "alarms", "from"]]
        for one in all_of_them:
            figures = [
                one.spread(figure, which).text(count.digits)
                for which in shown
                for figure, count in counts.items()
            ]
            fastest = min(row["ms"] for row in one.rows)
            rest = [f"{fastest:.1f}", str(len(one.rows)), one.budget(), one.alarms() or "-"]
            lines.append([one.method, *figures, *rest, f"`{one.command(called)}`"])
        gap = ["-"] * (len(names) - len(counts) + 1)
        first = all_of_them[0].rows[0]
        real = [_text(first["real"][name], count.digits) for name, count in counts.items()]
        lines.append(["real samples", *real, *gap, "-", "-", "-", first["note"]])
        for row in self._published:
            figures = [row.text(name) for name in counts]
            rest = [row.number_of_runs(), row.budget(), "-", row.source]
            lines.append([f"{row.method} (published)", *figures, *gap, *rest])
        return markdown(lines)

    def _recipe(self, method: str, steps: int) -> Recipe:
        """Return what a method is, with its own number of steps if it has one."""
        shared = Recipe(self.model, self.data, (), steps, self.ema_decay)
        with _naming(method):
            return recipe(shared, self.methods[method])

    def _standings(self, rows: Sequence[Row]) -> list[Standing]:
        """Group the rows that the present recipes make; those of earlier ones are left out."""
        recipes = {method: self._recipe(method, self.steps).digest() for method in self.methods}
        present = [row for row in rows if recipes.get(row["method"]) == row["recipe"]]
        return standings(present, self._judged)

    def _helped(self, standing: Standing, base: Standing) -> Finding:
        """Tell whether a method is better than the baseline in anything, and worse in nothing.

        That is not known from trainings of different lengths.
        """
        told: dict[str, list[str]] = {}
        for name, count in self._judge.counts.items():
            outcome = standing.outcome(base, name, count)
            own, other = (one.spread(name).text(count.digits) for one in (standing, base))
            told.setdefault(outcome, []).append(f"{count.label} {own} against {other}")
        holds = None
        budget = f"{standing.steps:,} steps"
        if standing.steps != base.steps:
            budget += f" against {base.steps:,}"
        elif told.keys() - {"cannot tell"}:
            holds = "better" in told and "worse" not in told
        evidence = "; ".join(f"{outcome}: {', '.join(texts)}" for outcome, texts in told.items())
        claim = f"{standing.method} helps, beside {base.method}, {budget}."
        return Finding(claim, holds, f"{evidence}.")

    def _reached(self, standing: Standing) -> Finding:
        """Tell whether a method reaches the bars."""
        counts = self._judge.counts
        means = {bar: standing.spread(bar.figure) for bar in self._bars}
        asked = ", ".join(bar.text(counts[bar.figure].label) for bar in self._bars)
        found = ", ".join(
            f"{counts[bar.figure].label} {spread.text(counts[bar.figure].digits)}"
            for bar, spread in means.items()
        )
        return Finding(
            f"{standing.method} reaches {asked}.",
            not standing.missed(self._bars),
            f"{found} after {standing.steps:,} steps; {len(standing.rows)} seeds, "
            f"{standing.judged} generator.",
        )


@contextmanager
def _naming(method: str) -> Iterator[None]:
    """Say of what method a refusal is."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ValueError(f"In the method {method!r}: {error}") from error


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
