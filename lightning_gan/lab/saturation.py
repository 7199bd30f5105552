"""Saturating against non-saturating: what is left of the generator's gradient."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from lightning_gan.gans import GAN, AdversarialModule
from lightning_gan.gans.gan import GeneratorObjective
from lightning_gan.lab.experiment import Experiment, Finding, Row
from lightning_gan.lab.figures import ORACLE, new_figure
from lightning_gan.networks import MLPDiscriminator
from lightning_gan.training import GANAdam
from lightning_gan.training.arguments import check_bound
from lightning_gan.training.batch import Batch

OBJECTIVES: tuple[GeneratorObjective, ...] = get_args(GeneratorObjective)
COLORS = {"minimax": "C3", "non_saturating": "C0"}
NAMES = {"minimax": "saturating, log(1 - D)", "non_saturating": "non-saturating, -log D"}
LATENTS = 1000  # on which a run is looked at, the same each time
EXACT = 1e-6  # how close the gradients of float64 logits have to be to the closed form
VANISHED, KEPT = 1e-2, 0.5  # final gradient as a share of the run's largest
SHARE_OF_STEPS = 1.25  # from one look at a run to the next


class Saturation(Experiment):
    r"""The generator's gradient while the discriminator wins, for both losses.

    At a generated sample's logit it is :math:`-D` for the minimax loss and :math:`-(1 - D)` for the
    other, :math:`D = \sigma(\text{logit})`. Then a discriminator is trained to tell two clouds
    apart; the generator stays where it is, and the gradient of its weights is watched.

    Args:
        logits: Where the gradient at a single logit is measured.
        distance: Between the centres of the two clouds.
        std: Standard deviation of each.
        steps: Updates of the discriminator.
        rate: Learning rate of its Adam.
        batch_size: Samples of each kind.
        seeds: One run of the discriminator each.

    Raises:
        ValueError: If there are no logits, or a number is not positive.

    Reference:
        Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014,
        https://arxiv.org/abs/1406.2661, section 3; Arjovsky and Bottou, "Towards Principled
        Methods for Training Generative Adversarial Networks", ICLR 2017,
        https://arxiv.org/abs/1701.04862, theorem 2.4 and figure 2.
    """

    title = "The saturating loss has no gradient where the generator needs it most"
    choices = ("seeds",)

    def __init__(
        self,
        logits: Sequence[float] = (-6.0, 0.0, 6.0),
        distance: float = 4.0,
        std: float = 0.5,
        steps: int = 1000,
        rate: float = 1e-3,
        batch_size: int = 128,
        seeds: Sequence[int] = (0,),
    ) -> None:
        if not logits:
            raise ValueError("Expected 'logits' to name at least one, got none.")
        numbers = {"distance": distance, "std": std, "steps": steps, "rate": rate}
        for name, number in {**numbers, "batch_size": batch_size}.items():
            check_bound(name, number)
        self.logits = logits
        self.distance = distance
        self.std = std
        self.steps = steps
        self.rate = rate
        self.batch_size = batch_size
        self.seeds = seeds

    def trials(self) -> Iterator[Row]:
        """Yield a trial for each loss at single logits, and one for each run."""
        for objective in OBJECTIVES:
            yield {"part": "logit", "objective": objective}
        for seed in self.seeds:
            yield {"part": "run", "seed": seed}

    def measure(self, **trial: Any) -> Row:
        """Differentiate the losses at logits, or at the generator's weights during a run."""
        if trial["part"] == "logit":
            return self._at_logits(trial["objective"])
        return self._run(trial["seed"])

    def findings(self, rows: Sequence[Row]) -> list[Finding]:
        """Compare with the closed form, and the end of each run with its beginning."""
        at_logits = [row for row in rows if row["part"] == "logit"]
        runs = [row for row in rows if row["part"] == "run"]
        errors = [
            abs(measured - closed_form(row["objective"], logit))
            for row in at_logits
            for logit, measured in zip(row["logits"], row["gradients"], strict=True)
        ]
        worst = max(errors, default=math.nan)
        kept = {name: [row[name][-1] / max(row[name]) for row in runs] for name in OBJECTIVES}
        claim = "Against a discriminator that wins, the gradient of the {} loss at the weights {}."
        return [
            Finding(
                "At a logit the gradient is -D for the saturating loss and -(1 - D) for the other.",
                worst < EXACT if errors else None,
                f"largest difference {worst:.1g} over {len(errors)} gradients",
            ),
            Finding(
                claim.format("saturating", f"falls below {VANISHED:g} of its largest"),
                max(kept["minimax"]) < VANISHED if runs else None,
                _evidence(runs, "minimax", kept["minimax"]),
            ),
            Finding(
                claim.format("non-saturating", f"stays above {KEPT:g} of its largest"),
                min(kept["non_saturating"]) > KEPT if runs else None,
                _evidence(runs, "non_saturating", kept["non_saturating"]),
            ),
        ]

    def draw(self, rows: Sequence[Row]) -> Figure:
        """Draw the gradient over the logit, and over the run."""
        figure, (left, right) = new_figure(self.title, 2)
        left.set(
            title="At the logit of one generated sample",
            xlabel="logit of the sample (left: seen to be generated)",
            ylabel="|gradient of the generator's loss|",
            yscale="log",
        )
        for row in rows:
            if row["part"] == "logit":
                _draw_logits(left, row)
        if left.lines:
            left.legend(loc="lower center", fontsize="small")
        right.set(
            title="At the generator's weights, in a run",
            xlabel="updates of the discriminator",
            ylabel="norm of the gradient",
            xscale="symlog",
            yscale="log",
        )
        runs = [row for row in rows if row["part"] == "run"]
        for i, row in enumerate(runs):
            for name in OBJECTIVES:
                label = NAMES[name] if i == 0 else None
                right.plot(row["steps"], row[name], color=COLORS[name], label=label, alpha=0.8)
            label = "mean D(G(z)), a probability" if i == 0 else None
            right.plot(row["steps"], row["confidence"], **ORACLE, label=label)
        if runs:
            right.legend(loc="lower left", fontsize="small")
        return figure

    def _at_logits(self, objective: GeneratorObjective) -> Row:
        # An identity for a discriminator: what is generated is the logit itself.
        model = GAN(
            nn.Identity(), nn.Identity(), latent_dim=1, generator_objective=objective
        ).double()
        logits = torch.tensor(self.logits, dtype=torch.float64)[:, None].requires_grad_()
        [loss] = model.generator_loss(Batch(logits.detach()), Batch(logits)).values()
        (gradients,) = torch.autograd.grad(loss * len(logits), logits)  # the loss is a mean
        return {"logits": list(self.logits), "gradients": gradients.flatten().tolist()}

    def _run(self, seed: int) -> Row:
        torch.manual_seed(seed)
        generator = nn.Linear(2, 2)
        with torch.no_grad():
            generator.weight.copy_(self.std * torch.eye(2))
            generator.bias.copy_(torch.tensor([self.distance, 0.0]))
        models = {
            objective: GAN(
                generator,
                MLPDiscriminator(hidden=(64, 64)),
                latent_dim=2,
                generator_objective=objective,
                optimizer_d=lambda params: GANAdam(params, lr=self.rate),
            )
            for objective in OBJECTIVES
        }
        watched, other = models.values()
        other.discriminator = watched.discriminator  # the same opponent for both losses
        latents = watched.sample_latents(LATENTS)
        measured: dict[str, list[float]] = {"steps": [], "confidence": []}
        measured |= {objective: [] for objective in OBJECTIVES}

        def draw() -> Tensor:
            return self.std * torch.randn(self.batch_size, 2)

        due = 0.0
        for step in discriminator_updates(watched, draw, self.steps):
            if step < min(due, self.steps):
                continue
            due = SHARE_OF_STEPS * step + 1
            measured["steps"].append(step)
            with torch.no_grad():
                confidence = watched.logits(watched.regenerate(latents, None)).sigmoid().mean()
            measured["confidence"].append(confidence.item())
            for objective, model in models.items():
                fake = model.regenerate(latents, None)
                [loss] = model.generator_loss(fake, fake).values()
                gradients = torch.autograd.grad(loss, list(generator.parameters()))
                measured[objective].append(nn.utils.get_total_norm(gradients).item())
        return measured


def closed_form(objective: GeneratorObjective, logit: float) -> float:
    """Return the gradient of a generator's loss at a logit.

    Example:
        >>> round(closed_form("minimax", -6.0), 5), round(closed_form("non_saturating", -6.0), 5)
        (-0.00247, -0.99753)
    """
    sign = 1 if objective == "minimax" else -1
    return -1 / (1 + math.exp(-sign * logit))


def discriminator_updates(
    model: AdversarialModule, draw: Callable[[], Tensor], steps: int
) -> Iterator[int]:
    """Train the discriminator alone, against a generator that stays what it is.

    Args:
        model: Whose losses, penalties and optimiser are used.
        draw: Returns a batch of real samples, (N, ...).
        steps: Number of updates.

    Yields:
        Number of updates made, from 0 to ``steps``.
    """
    [_, optimizer], _ = model.configure_optimizers()
    yield 0
    for step in range(steps):
        real = draw()
        with torch.no_grad():
            fake = model.generate(len(real))
        terms = model.discriminator_terms(Batch(real), fake, step)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        yield step + 1


def _evidence(runs: Sequence[Row], objective: str, kept: Sequence[float]) -> str:
    ends = ", ".join(f"{row[objective][-1]:.2g}" for row in runs)
    shares = ", ".join(f"{share:.2g}" for share in kept)
    return f"last gradient of each run: {ends}; over the run's largest: {shares}"


def _draw_logits(axes: Axes, row: Row) -> None:
    name = row["objective"]
    low, high = min(row["logits"]), max(row["logits"])
    fine = torch.linspace(low, high, 200).tolist()
    exact = [-closed_form(name, logit) for logit in fine]
    letter = "D" if name == "minimax" else "1 - D"
    axes.plot(fine, exact, color=COLORS[name], linewidth=1.2, label=f"closed form, {letter}")
    sizes = [-gradient for gradient in row["gradients"]]
    axes.plot(row["logits"], sizes, "o", color=COLORS[name], label=f"measured: {NAMES[name]}")
    if name == "minimax":
        at = row["logits"][len(sizes) // 4]
        ends = [-closed_form(objective, at) for objective in OBJECTIVES]
        axes.annotate("", (at, ends[0]), (at, ends[1]), arrowprops={"arrowstyle": "<->"})
        text = f"{max(ends) / min(ends):.0f} times "
        axes.text(at, 0.1, text, horizontalalignment="right")
