"""How a run moves: whether it turns, and whether its losses swing."""

from collections import deque
from collections.abc import Iterable, Mapping
from math import ceil, isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_gan.diagnostics.precision import widest
from lightning_gan.gans.game import AdversarialGame

MOST_WEIGHTS = 100_000  # of each network that are followed
_FEWEST_LOSSES = 5


class Motion:
    r"""Follow both networks' weights and losses over a run.

    Each call of :meth:`update` returns, for the generator (``_g``) and the discriminator (``_d``):

    - ``rotation``: with the moves :math:`\Delta_t = \theta_t - \theta_{t-1}` of the weights from
      one call to the next,

      .. math:: \frac{\langle \Delta_t, \Delta_{t-1} \rangle}
          {\lVert \Delta_t \rVert\, \lVert \Delta_{t-1} \rVert},

      1 on a straight line, 0 at a right angle, -1 back and forth; on a circle it is the cosine of
      the angle between two calls. From the third call on, and where the weights have moved.
    - ``oscillation``: of the last losses :math:`l_1, \ldots, l_n`, n at most ``window``, and the
      straight line :math:`a + b i` that fits them best,

      .. math:: \sqrt{\tfrac{1}{n - 2} \textstyle\sum_i (l_i - a - b i)^2} \Big/
          \tfrac{1}{n} \textstyle\sum_i \lvert l_i \rvert,

      0 for a steady or evenly falling loss, and 1.1 to 1.3 for a swing or noise around 0. From the
      fifth call on, and unless all losses are 0.

    Weights are taken at even distances, at most 100,000 of each network. They are the same on all
    processes; what losses are given must be, too.

    Args:
        window: Number of losses that are looked at, at least 5.

    Raises:
        ValueError: If ``window`` is below 5.

    Reference:
        Mescheder et al., "The Numerics of GANs", NeurIPS 2017, https://arxiv.org/abs/1705.10461,
        section 3 (why the weights rotate).
    """

    def __init__(self, window: int = 20) -> None:
        if window < _FEWEST_LOSSES:
            raise ValueError(f"Expected 'window' to be at least {_FEWEST_LOSSES}, got {window}.")
        self.window = window
        self._weights: dict[str, Tensor] = {}
        self._moves: dict[str, Tensor] = {}
        self._losses: dict[str, deque[float]] = {}

    def update(self, model: AdversarialGame, losses: Mapping[str, float]) -> dict[str, float]:
        """Take up where the networks are now.

        Args:
            model: Any variant.
            losses: The losses of the networks, ``"g"`` and ``"d"``; whichever are known. One that
                is not finite is left out.

        Returns:
            Figures by name: those that are known yet, all finite.
        """
        figures = {}
        for name, network in (("g", model.generator), ("d", model.discriminator)):
            cosine = self._follow(name, _thinned(network))
            if cosine is not None:
                figures[f"rotation_{name}"] = cosine
            if name in losses and isfinite(losses[name]):
                kept = self._losses.setdefault(name, deque(maxlen=self.window))
                kept.append(float(losses[name]))
            swing = _swing(self._losses.get(name, ()))
            if swing is not None:
                figures[f"oscillation_{name}"] = swing
        return figures

    def _follow(self, name: str, weights: Tensor) -> float | None:
        """Remember the weights and their move; return its cosine to the one before."""
        last, move = self._weights.get(name), self._moves.get(name)
        self._weights[name] = weights
        if last is None or last.shape != weights.shape:
            self._moves.pop(name, None)
            return None
        self._moves[name] = weights - last.to(weights)
        if move is None:
            return None
        dtype = widest(weights.device)
        this, former = self._moves[name].to(dtype), move.to(weights).to(dtype)
        lengths = torch.linalg.vector_norm(this) * torch.linalg.vector_norm(former)
        cosine = float(this @ former / lengths)
        return max(-1.0, min(1.0, cosine)) if isfinite(cosine) else None

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        losses = {name: list(values) for name, values in self._losses.items()}
        return {"weights": dict(self._weights), "moves": dict(self._moves), "losses": losses}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` left it."""
        self._weights = dict(state["weights"])
        self._moves = dict(state["moves"])
        losses = state["losses"]
        self._losses = {name: deque(losses[name], maxlen=self.window) for name in losses}


@torch.no_grad()
def _thinned(network: nn.Module) -> Tensor:
    """Return a copy of a network's weights, in float32 or better; of many, every n-th."""
    parameters = list(network.parameters())
    step = ceil(sum(p.numel() for p in parameters) / MOST_WEIGHTS)
    taken, offset = [], 0  # from the start of a parameter to the next weight that is due
    for parameter in parameters:
        taken.append(parameter.flatten()[offset::step])
        offset = (offset - parameter.numel()) % step
    weights = torch.cat(taken)
    return weights.to(torch.promote_types(weights.dtype, torch.float32))


def _swing(losses: Iterable[float]) -> float | None:
    """Return how far losses are from a straight line, relative to their size."""
    values = np.array(list(losses))
    n = len(values)
    if n < _FEWEST_LOSSES or not values.any():
        return None
    line = np.polynomial.Polynomial.fit(np.arange(n), values, deg=1)
    rest = values - line(np.arange(n))
    return float(np.sqrt((rest**2).sum() / (n - 2)) / np.abs(values).mean())
