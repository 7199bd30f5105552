"""Several generators in place of one."""

from copy import deepcopy
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from lightning_gan.layers import ConditionalSequential, apply
from lightning_gan.networks.base import Generator, check_positive


class MixtureGenerator(Generator):
    """Let each latent choose one of K generators, which makes its sample of the rest of it.

    The last K coordinates of a latent are the choice: the largest of them wins. For normal latents
    each generator is thus equally likely, and the same latent always gives the same sample. A
    generator that no latent of a batch chooses is not run, so its weights get no gradient.

    In training, batch normalisation in a generator sees its own samples alone, N / K on average;
    that of a shared trunk sees all N. Maps of 4x4 and more give it something to average over even
    for a single sample. Where it is synchronised between processes, share the trunk: a process
    that has no sample for a generator would keep the others waiting forever.

    Args:
        generator: Pattern of the generators, which are copies with freshly drawn weights; see
            :meth:`Generator.initialize`.
        num_generators: Number K of generators.
        share: What they share: ``"none"``, or ``"trunk"`` for all layers but the first with
            weights, as in MGAN. The shared layers are run once, on the whole batch.

    Attributes:
        latent_dim: Length of a latent, K more than that of ``generator``.
        generators: The K generators, up to the shared layers.
        shared: The shared layers; none for ``share="none"``.

    Raises:
        TypeError: If ``generator`` is no :class:`Generator`, or if its ``layers`` are no
            ``nn.Sequential``, of which a trunk could be shared.
        ValueError: If ``num_generators`` is below 1, ``share`` none of the names, if drawing the
            weights anew leaves the copies equal, or if vectors are batch-normalised in what is not
            shared.

    Example:
        >>> from lightning_gan.networks import MLPGenerator
        >>> mixture = MixtureGenerator(MLPGenerator(latent_dim=2), num_generators=3)
        >>> mixture.choose(torch.tensor([[0.3, -1.0, 0.5, 2.0, -0.1]]))
        tensor([1])

    Reference:
        Hoang et al., "MGAN: Training Generative Adversarial Nets with Multiple Generators",
        ICLR 2018, https://arxiv.org/abs/1708.02556, section 3; Ghosh et al., "Multi-Agent Diverse
        Generative Adversarial Networks", CVPR 2018, https://arxiv.org/abs/1704.02906.
    """

    def __init__(
        self,
        generator: Generator,
        num_generators: int,
        share: Literal["none", "trunk"] = "none",
    ) -> None:
        if not isinstance(generator, Generator):
            raise TypeError(
                "Expected 'generator' to be a Generator, whose weights can be drawn anew, got "
                f"{type(generator).__name__}."
            )
        check_positive("num_generators", num_generators)
        if share not in ("none", "trunk"):
            raise ValueError(f"Expected 'share' to be 'none' or 'trunk', got '{share}'.")
        latent_dim = generator.latent_dim + num_generators
        super().__init__(latent_dim, generator.sample_shape, generator.num_classes)
        self.num_generators = num_generators
        copies = [deepcopy(generator) for _ in range(num_generators)]
        for copy in copies:
            copy.initialize()
        _check_different(copies)
        self.shared = ConditionalSequential()
        if share == "trunk":
            own = _own_layers(generator)
            self.shared.extend(_sequence(copies[0])[own:])
            for copy in copies:
                copy.layers = _sequence(copy)[:own]
        self.generators = nn.ModuleList(copies)
        _check_single_samples(self.generators)

    def choose(self, z: Tensor) -> Tensor:
        """Return the index of the generator that each latent chooses.

        Args:
            z: Latents, (N, ``latent_dim``).

        Returns:
            Indices (N,) int64 in [0, K); among equal coordinates the first wins.

        Raises:
            ValueError: If the latents have another length.
        """
        if z.shape[1:] != (self.latent_dim,):
            raise ValueError(
                f"Expected latents (N, {self.latent_dim}), of which the last "
                f"{self.num_generators} choose the generator, got {tuple(z.shape)}."
            )
        return z[:, -self.num_generators :].argmax(dim=1)

    def assign(self, z: Tensor, indices: Tensor) -> Tensor:
        """Return latents with the choice of other generators.

        Args:
            z: Latents, (N, ``latent_dim``).
            indices: Generators to choose, (N,) int64 in [0, K).

        Returns:
            A copy whose last K coordinates are 1 for the generator and 0 for the others. The rest,
            of which the sample is made, stays.
        """
        choice = one_hot(indices, self.num_generators).to(z.dtype)
        return torch.cat([z[:, : -self.num_generators], choice], dim=1)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate samples, each by the generator that its latent chooses.

        Args:
            z: Latents, (N, ``latent_dim``) with N of at least 1.
            labels: Classes, (N,) int64; needed if ``num_classes`` is given, else ignored.

        Returns:
            Samples (N, ``*sample_shape``), in the order of the latents.
        """
        chosen = self.choose(z)
        counts = chosen.bincount(minlength=self.num_generators).tolist()
        order = chosen.argsort(stable=True)
        latents = z[:, : -self.num_generators]
        made = torch.cat(
            [
                apply(generator, latents[rows], None if labels is None else labels[rows])
                for generator, rows in zip(self.generators, order.split(counts), strict=True)
                if len(rows) > 0
            ]
        )
        samples: Tensor = self.shared(torch.empty_like(made).index_copy(0, order, made), labels)
        return samples

    def initialize(self, part: nn.Module | None = None) -> None:
        """Draw weights anew, as the generators do; see :meth:`Generator.initialize`."""
        first, *others = (layer for layer in self.generators if isinstance(layer, Generator))
        if part is not None:
            first.initialize(part)
            return
        for generator in (first, *others):
            generator.initialize()
        first.initialize(self.shared)


def _sequence(generator: Generator) -> nn.Sequential:
    layers = getattr(generator, "layers", None)
    if not isinstance(layers, nn.Sequential):
        raise TypeError(
            "Expected the 'layers' of 'generator' to be an nn.Sequential for share='trunk', got "
            f"{type(layers).__name__}."
        )
    return layers


def _own_layers(generator: Generator) -> int:
    """Count a generator's layers up to the first that has weights."""
    for i, layer in enumerate(_sequence(generator), start=1):
        if next(layer.parameters(), None) is not None:
            return i
    raise ValueError("Expected the 'layers' of 'generator' to have weights, got none.")


def _check_single_samples(generators: nn.ModuleList) -> None:
    if len(generators) > 1 and any(isinstance(m, nn.BatchNorm1d) for m in generators.modules()):
        raise ValueError(
            "Expected no nn.BatchNorm1d in the generators of a mixture, got one: in training it "
            "fails on a generator that is chosen for a single sample. Share the trunk "
            "(share='trunk'), or use another norm."
        )


def _check_different(copies: list[Generator]) -> None:
    if len(copies) > 1 and all(
        not one.is_meta and torch.equal(one, other)
        for one, other in zip(copies[0].parameters(), copies[1].parameters(), strict=True)
    ):
        raise ValueError(
            f"Expected 'generator' to have weights that 'initialize' draws anew, got a "
            f"{type(copies[0]).__name__} that keeps them all, so that its copies would be equal."
        )
