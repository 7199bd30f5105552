"""How a game moves near its current weights: eigenvalues of its gradient field's Jacobian."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.utils.parametrize import ParametrizationList
from torch.overrides import TorchFunctionMode

from lightning_gan.diagnostics.unnoticed import unnoticed
from lightning_gan.gans.game import AdversarialGame
from lightning_gan.training.batch import Batch
from lightning_gan.training.lending import with_weights
from lightning_gan.training.penalty import Terms

LARGEST_EXACT = 500  # weights of a game whose whole Jacobian is computed


class Spectrum(NamedTuple):
    r"""Eigenvalues of a game's Jacobian, and what they say of small steps along its field.

    Attributes:
        values: (k,), complex; those of largest modulus first.
        residuals: (k,); how far each is from being one: the norm of :math:`Jx - \lambda x` of its
            unit vector. 0 where they are exact.

    Example:
        >>> turning = Spectrum(torch.tensor([-0.3 + 0.4j, -0.3 - 0.4j]), torch.zeros(2))
        >>> round(turning.largest_real, 3), round(turning.rotation, 3)
        (-0.3, 1.333)
    """

    values: Tensor
    residuals: Tensor

    @property
    def largest_real(self) -> float:
        """Largest real part: below 0, small enough steps converge; above 0, they go away."""
        return float(self.values.real.max())

    @property
    def modulus(self) -> float:
        """Largest modulus."""
        return float(self.values.abs().max())

    @property
    def rotation(self) -> float:
        r"""Ratio :math:`|\mathrm{Im}| / |\mathrm{Re}|` of the eigenvalue of largest imaginary part.

        The larger, the smaller must be the steps of a game that converges: below
        :math:`2\,|\mathrm{Re}| / |\lambda|^2`. Infinite if it only turns; 0 if nothing turns.
        """
        fastest = complex(self.values[self.values.imag.abs().argmax()])
        if fastest.imag == 0:
            return 0.0
        return abs(fastest.imag / fastest.real) if fastest.real else float("inf")

    def within(self, tolerance: float = 1e-2) -> "Spectrum":
        """Return those whose residuals are at most a share of the largest modulus."""
        good = self.residuals <= tolerance * self.modulus
        return Spectrum(self.values[good], self.residuals[good])


def game_jacobian(model: AdversarialGame, real: Batch, latents: Tensor) -> Tensor:
    r"""Return the Jacobian of the field along which gradient descent moves both networks.

    .. math::
        v(\theta, \psi) = (-\nabla_\theta L_G,\; -\nabla_\psi L_D), \qquad
        J = \begin{pmatrix} \partial_\theta v_\theta & \partial_\psi v_\theta \\
            \partial_\theta v_\psi & \partial_\psi v_\psi \end{pmatrix}

    The losses are the model's own, of both networks in training mode, with its penalties (those
    that are due every few updates, at their mean strength), packing, top-k and augmentation. All
    that depends on a weight is differentiated, also what a loss keeps out of its own gradient.
    What networks carry from update to update, such as the vectors of spectral normalisation, counts
    as constant, and random numbers are the same for all columns. Model, gradients and random state
    are left as they were. Clipping, unrolling, replay and optimisers are no part of the field. At a
    kink, such as a slope of exactly 0 under a penalty on its norm, a derivative is that of one side
    or 0: look beside it.

    Args:
        model: The game, at its current weights; of at most 500 that are trained.
        real: Real samples, with labels where the model is conditional.
        latents: Of as many generated samples, (N, ``latent_dim``).

    Returns:
        (n, n); the n trained weights are the generator's, then the discriminator's, each in the
        order of ``parameters()``.

    Raises:
        ValueError: If the game is too large, its generator looks at an unrolled discriminator, or
            the latents do not fit.

    Example:
        >>> from lightning_gan import WGAN
        >>> from lightning_gan.networks import DiracDiscriminator, DiracGenerator
        >>> game = WGAN(DiracGenerator(0.0), DiracDiscriminator(0.0))
        >>> game_jacobian(game, Batch(torch.zeros(4, 1)), torch.zeros(4, 1)).abs()
        tensor([[0., 1.],
                [1., 0.]])

    Reference:
        Mescheder et al., "The Numerics of GANs", NeurIPS 2017, https://arxiv.org/abs/1705.10461,
        eq. (4); Nagarajan and Kolter, "Gradient descent GAN optimization is locally stable",
        NeurIPS 2017, https://arxiv.org/abs/1706.04156.
    """
    field = _Field(model, real, latents)
    if field.size > LARGEST_EXACT:
        raise ValueError(
            f"Expected 'model' to have at most {LARGEST_EXACT} trained weights, got {field.size}; "
            "'game_eigenvalues' takes any number."
        )
    return field.jacobian()


def game_eigenvalues(
    model: AdversarialGame,
    real: Batch,
    latents: Tensor,
    k: int = 32,
    exact_up_to: int = LARGEST_EXACT,
) -> Spectrum:
    """Return eigenvalues of the game's Jacobian; see :func:`game_jacobian`.

    Of a small game they are all, and exact, which takes a product of the Jacobian with a vector for
    each weight. Of a larger one they are the Ritz values of k steps of Arnoldi's method, which
    takes k products and keeps as many vectors: the outermost are found first, and several that are
    equal count as one. A product costs two to four times as much as the gradients of both losses.
    Look at the residuals, or ask for those :meth:`~Spectrum.within` a tolerance.

    Args:
        model: The game, at its current weights.
        real: Real samples, with labels where the model is conditional.
        latents: Of as many generated samples, (N, ``latent_dim``).
        k: Number of Arnoldi's steps.
        exact_up_to: Largest number of trained weights for which all eigenvalues are computed.

    Returns:
        Eigenvalues and their residuals, on the CPU; where the Jacobian is not finite, a single NaN
        with an infinite residual.

    Raises:
        ValueError: If ``k`` is below 1, the generator looks at an unrolled discriminator, or the
            latents do not fit.

    Example:
        >>> from lightning_gan import WGAN
        >>> from lightning_gan.networks import DiracDiscriminator, DiracGenerator
        >>> game = WGAN(DiracGenerator(0.0), DiracDiscriminator(0.0))
        >>> game_eigenvalues(game, Batch(torch.zeros(4, 1)), torch.zeros(4, 1)).rotation
        inf

    Reference:
        Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018,
        https://arxiv.org/abs/1801.04406, section 2; Arnoldi, "The principle of minimized iterations
        in the solution of the matrix eigenvalue problem", Quarterly of Applied Mathematics 1951.
    """
    if k < 1:
        raise ValueError(f"Expected 'k' to be at least 1, got {k}.")
    field = _Field(model, real, latents)
    if field.size > exact_up_to:
        return arnoldi(field.derivative, field.start(), k)
    jacobian = field.jacobian().double().cpu()
    if not jacobian.isfinite().all():  # of which LAPACK may crash
        return _undefined()
    values = torch.linalg.eigvals(jacobian)
    values = values[values.abs().argsort(descending=True)]
    return Spectrum(values, torch.zeros(len(values), dtype=torch.float64))


def arnoldi(multiply: Callable[[Tensor], Tensor], start: Tensor, k: int) -> Spectrum:
    """Return the Ritz values of a matrix that is known by its products with vectors.

    Args:
        multiply: Maps a vector (n,) to the matrix's product with it.
        start: First vector, (n,), not 0.
        k: Number of products, and of vectors that are kept.

    Returns:
        At most k values and residuals; fewer where the products of ``start`` span less.
    """
    k = min(k, len(start))
    basis = start.new_empty(k, len(start))
    projected = torch.zeros(k, k, dtype=torch.float64)
    vector, length = start / torch.linalg.vector_norm(start), 0.0
    for j in range(k):
        basis[j] = vector
        known = basis[: j + 1]
        rest = multiply(vector)
        before = float(torch.linalg.vector_norm(rest))
        for _ in range(2):  # again, for what rounding has left
            overlaps = known @ rest
            rest = rest - overlaps @ known
            projected[: j + 1, j] += overlaps.double().cpu()
        length = float(torch.linalg.vector_norm(rest))
        if length <= 10 * torch.finfo(rest.dtype).eps * before:  # all that can be reached
            projected, length = projected[: j + 1, : j + 1], 0.0
            break
        if j + 1 < k:
            projected[j + 1, j] = length
            vector = rest / length
    if not projected.isfinite().all():
        return _undefined()
    values, mixtures = torch.linalg.eig(projected)
    order = values.abs().argsort(descending=True)
    return Spectrum(values[order], length * mixtures[-1, order].abs())


def _undefined() -> Spectrum:
    nothing = torch.full((1,), float("nan"), dtype=torch.float64)
    return Spectrum(nothing.to(torch.complex128), torch.full_like(nothing, float("inf")))


class _Field:
    """The field of a game, and its derivative along a direction of all weights.

    In forward mode, which `no_grad` does not stop: a loss of the generator may well have hidden
    from its gradient what depends on the discriminator.
    """

    def __init__(self, model: AdversarialGame, real: Batch, latents: Tensor) -> None:
        if getattr(model, "unrolled_steps", 0):
            raise ValueError(
                "Expected a 'model' whose losses depend on its weights alone, got "
                f"unrolled_steps={model.unrolled_steps}, which go through an optimiser."
            )
        expected = (len(real.samples), model.latent_dim)
        if tuple(latents.shape) != expected:
            raise ValueError(
                f"Expected 'latents' to be {expected}, one for each real sample, got "
                f"{tuple(latents.shape)}."
            )
        self._model = model
        with torch.inference_mode(False):  # whose tensors could not be saved for a derivative
            self._real = real.map(torch.clone).packed(model.packing)
            labels = None if model.num_classes is None else real.labels
            self._given = Batch(latents.clone(), labels).packed(model.packing)
        self._players = tuple(
            {f"{name}.{at}": p.detach() for at, p in network.named_parameters() if p.requires_grad}
            for name, network in model.named_children()
            if name in ("generator", "discriminator")
        )
        self.size = sum(p.numel() for player in self._players for p in player.values())

    def start(self) -> Tensor:
        """Return a vector to begin with; the same each time, from no one else's random numbers."""
        source = torch.Generator().manual_seed(0)
        return self._like(torch.randn(self.size, generator=source, dtype=torch.float64))

    def jacobian(self) -> Tensor:
        """Return all derivatives, a column for each weight."""
        directions = self._like(torch.eye(self.size))
        return torch.stack([self.derivative(direction) for direction in directions], dim=1)

    def _like(self, x: Tensor) -> Tensor:
        weight = next(p for player in self._players for p in player.values())
        return x.to(weight.device, torch.promote_types(weight.dtype, torch.float32))

    def derivative(self, direction: Tensor) -> Tensor:
        """Return the product of the Jacobian with a vector, both (n,)."""
        model = self._model
        weights = {name: p for player in self._players for name, p in player.items()}
        parts = direction.split([p.numel() for p in weights.values()])
        with _as_in_training(model), forward_ad.dual_level(), _ThroughDetach():
            lent = {
                name: _dual(p, part.reshape(p.shape).to(p)).requires_grad_()
                for (name, p), part in zip(weights.items(), parts, strict=True)
            }
            carried = {name: buffer.clone() for name, buffer in model.named_buffers()}
            gradients = with_weights(model, lent | carried, lambda: self._gradients(lent))
            tangents = [_tangent(gradient).flatten() for gradient in gradients]
            return -torch.cat(tangents).to(direction)

    def _gradients(self, lent: dict[str, Tensor]) -> list[Tensor]:
        """Return each network's gradient of its own loss at the weights that were lent."""
        model, real = self._model, self._real
        fake = model.regenerate(self._given.samples, self._given.labels)
        seen = fake._replace(samples=fake.samples.detach())
        terms: tuple[Terms, Terms] = (
            model.generator_terms(real, fake, 0),
            model.discriminator_terms(real, seen, 0),
        )
        gradients: list[Tensor] = []
        for player, of_player in zip(self._players, terms, strict=True):
            loss = reduce(add, of_player.values())
            own = [lent[name] for name in player]
            gradients += torch.autograd.grad(loss, own, allow_unused=True, materialize_grads=True)
        return gradients


class _ThroughDetach(TorchFunctionMode):
    """Lead the derivative in forward mode past `detach`, which unlike `no_grad` would stop it."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is Tensor.detach:
            tangent = forward_ad.unpack_dual(args[0]).tangent
            if tangent is not None:
                return forward_ad.make_dual(result, tangent.detach())
        return result


@contextmanager
def _as_in_training(model: AdversarialGame) -> Iterator[None]:
    """Look at a model's losses as they are on average in training, and leave it as it was."""
    modes = {module: module.training for module in model.modules()}
    intervals = {penalty: penalty.interval for penalty in model.penalties.all()}
    with unnoticed(model):
        try:
            model.train()
            for module in modes:
                if isinstance(module, ParametrizationList):
                    module.eval()  # power iteration writes where no derivative can follow
            for penalty in intervals:
                penalty.interval = 1
            yield
        finally:
            for module, training in modes.items():
                module.training = training
            for penalty, interval in intervals.items():
                penalty.interval = interval


def _dual(weight: Tensor, tangent: Tensor) -> Tensor:
    with warnings.catch_warnings():  # torch's own use of what it has deprecated
        warnings.filterwarnings("ignore", ".*torch.jit", FutureWarning)
        dual: Tensor = forward_ad.make_dual(weight, tangent)
        return dual


def _tangent(gradient: Tensor) -> Tensor:
    tangent = forward_ad.unpack_dual(gradient).tangent
    return torch.zeros_like(gradient) if tangent is None else tangent.detach()
