"""What a trained model offers: samples, from a checkpoint alone."""

import copy
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import torch
from lightning import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from typing_extensions import Self

from lightning_gan.layers import apply, evaluating, standing_statistics
from lightning_gan.training.batch import Batch, unpack
from lightning_gan.training.checkpoint_io import read_checkpoint
from lightning_gan.training.runtime import silence_jsonargparse

Model = TypeVar("Model")

SAMPLE_CHUNK = 256  # samples generated at a time, so that a large request fits a small device


class GenerativeModule(LightningModule):
    """Draw samples from a generator or from the running average of its weights.

    Args:
        generator: Maps latents (N, ``latent_dim``) to samples; images must lie in [-1, 1]. Any
            module; one with an attribute ``num_classes`` is given the labels as second argument.
        latent_dim: Length of a latent. None takes the generator's ``latent_dim``.

    Attributes:
        generator: The trained network.
        ema_generator: The running average of its weights, where there is one.
        num_classes: Number of classes of a conditional generator, else None.
        images_seen: Real samples that the training has shown so far, over all processes.

    Raises:
        ValueError: If ``latent_dim`` is neither given nor known to the generator.
    """

    ema_generator: nn.Module | None
    images_seen = 0
    images_this_step = 0  # real samples of the iteration at hand, over all processes
    looking_ahead = False  # whether the step being taken is to be undone

    def __init__(self, generator: nn.Module, latent_dim: int | None = None) -> None:
        super().__init__()
        with warnings.catch_warnings():  # about modules, which are taken out again below
            warnings.simplefilter("ignore")
            self.save_hyperparameters()
        # From the command line these are configurations; from Python they are objects, which a
        # checkpoint that is loaded without running code cannot hold.
        plain = {name: value for name, value in self.hparams.items() if _is_plain(value)}
        self.hparams.clear()
        self.save_hyperparameters(plain)
        if latent_dim is None:
            latent_dim = getattr(generator, "latent_dim", None)
        if not isinstance(latent_dim, int) or latent_dim < 1:
            raise ValueError(
                "Expected 'latent_dim' to be a positive integer, given or as an attribute of the "
                f"generator, got {latent_dim}."
            )
        self.generator = generator
        self.register_module("ema_generator", None)
        self.latent_dim = latent_dim
        self.num_classes: int | None = getattr(generator, "num_classes", None)

    def sample_latents(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` latents from N(0, 1), (n, ``latent_dim``).

        Args:
            n: Number of latents.
            generator: Source of the random numbers, on any device; the global one by default.
        """
        device = self.device if generator is None else generator.device
        return torch.randn(n, self.latent_dim, device=device, generator=generator).to(self.device)

    def sample_labels(self, n: int, generator: torch.Generator | None = None) -> Tensor | None:
        """Draw ``n`` classes uniformly, (n,) int64, or None for an unconditional generator."""
        if self.num_classes is None:
            return None
        device = self.device if generator is None else generator.device
        labels = torch.randint(self.num_classes, (n,), device=device, generator=generator)
        return labels.to(self.device)

    def generate(self, n: int, labels: Tensor | None = None) -> Batch:
        """Generate ``n`` samples in training mode, with gradient, in the weights' precision."""
        if self.num_classes is None:
            labels = None  # the data's, which nobody asked for
        latents = self.sample_latents(n)
        samples: Tensor = apply(self.generator, latents, labels)
        return Batch(samples.to(self.dtype), labels, latents)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        labels: Tensor | None = None,
        generator: torch.Generator | None = None,
        truncation: float | None = None,
    ) -> Tensor:
        """Draw samples from the averaged generator if there is one, else from the trained one.

        Args:
            n: Number of samples.
            labels: Classes, (n,) int64; drawn uniformly if None. Unconditional models ignore them.
            generator: Source of the random numbers, on any device; the global one by default.
            truncation: Bound on the magnitude of each number in a latent: beyond it is drawn again.
                The lower, the more typical and the less varied are the samples. None for no bound.

        Returns:
            Samples (n, ...) in float32 on the model's device; images lie in [-1, 1].

        Raises:
            ValueError: If ``n`` is below 1, ``truncation`` not positive, or the labels are not
                ``n`` or out of range.

        Reference:
            Brock et al., "Large Scale GAN Training for High Fidelity Natural Image Synthesis",
            ICLR 2019, https://arxiv.org/abs/1809.11096, section 3.1 (``truncation``).
        """
        if n < 1:
            raise ValueError(f"Expected 'n' to be at least 1, got {n}.")
        if self.num_classes is not None and labels is not None:
            _check_labels(labels, n, self.num_classes)
        latents = self._latents(n, generator, truncation)
        if labels is None or self.num_classes is None:
            labels = self.sample_labels(n, generator)
        return self.render(latents, labels)

    def standing_statistics(
        self,
        batches: int,
        batch_size: int,
        generator: torch.Generator | None = None,
        truncation: float | None = None,
    ) -> None:
        """Measure anew the statistics of batch normalisation with which samples are drawn.

        Those of the averaged generator if there is one, else those of the trained one, become plain
        averages over batches of fresh latents; see
        :func:`~lightning_gan.layers.standing_statistics`.

        Args:
            batches: Number of batches.
            batch_size: Samples in each, of all classes alike.
            generator: Source of the random numbers, on any device; the global one by default.
            truncation: Bound on the latents, the same as for the samples to be drawn.

        Raises:
            ValueError: If a number is below 1, ``truncation`` not positive, or the generator has no
                batch normalisation.
        """
        if batch_size < 1:
            raise ValueError(f"Expected 'batch_size' to be at least 1, got {batch_size}.")
        network = self._sampler

        def run() -> None:
            latents = self._latents(batch_size, generator, truncation).type(self.dtype)
            apply(network, latents, self.sample_labels(batch_size, generator))

        standing_statistics(network, run, batches)

    @property
    def _sampler(self) -> nn.Module:
        return self.generator if self.ema_generator is None else self.ema_generator

    def _latents(
        self, n: int, generator: torch.Generator | None, truncation: float | None
    ) -> Tensor:
        if truncation is None:
            return self.sample_latents(n, generator)
        if not truncation > 0:
            raise ValueError(f"Expected 'truncation' to be positive, got {truncation}.")
        device = self.device if generator is None else generator.device
        latents = torch.empty(n, self.latent_dim, device=device)
        nn.init.trunc_normal_(latents, a=-truncation, b=truncation, generator=generator)
        return latents.to(self.device)

    @torch.no_grad()
    def render(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Turn latents into samples in evaluation mode, as :meth:`sample` does.

        Args:
            latents: Latents, (N, ``latent_dim``).
            labels: Classes, (N,) int64, of a conditional generator.

        Returns:
            Samples (N, ...) in float32 on the model's device; images lie in [-1, 1].
        """
        network = self._sampler
        chunks = latents.to(self.device).type(self.dtype).split(SAMPLE_CHUNK)
        label_chunks: Any = [None] * len(chunks)
        if self.num_classes is not None and labels is not None:
            label_chunks = labels.to(self.device).split(SAMPLE_CHUNK)
        with evaluating(network):
            pairs = zip(chunks, label_chunks, strict=True)
            return torch.cat([apply(network, z, y).float() for z, y in pairs])

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Generate as many samples as the batch has, with its labels."""
        real = unpack(batch)
        return self.sample(len(real.samples), real.labels)

    def attach_ema(self) -> nn.Module:
        """Return the averaged generator, a copy of the generator if there was none yet."""
        if self.ema_generator is None:
            self.ema_generator = copy.deepcopy(self.generator).requires_grad_(False)
        return self.ema_generator

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make room for the checkpoint's averaged generator, or start the average from its own."""
        weights = checkpoint["state_dict"]
        prefix = "ema_generator."
        saved = [key for key in weights if key.startswith(prefix)]
        if saved and self.ema_generator is None and self._is_fitting():
            rank_zero_warn(
                "The checkpoint's averaged generator is dropped, because nothing in this run goes "
                "on with it. Add the callback GeneratorEMA to keep it."
            )
            for key in saved:
                del weights[key]
        elif saved:
            self.attach_ema()
        elif self.ema_generator is not None:
            for key in [key for key in weights if key.startswith("generator.")]:
                weights[prefix + key.removeprefix("generator.")] = weights[key].clone()

    def _is_fitting(self) -> bool:
        return self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: str | Path | IO[bytes],
        map_location: Any = None,
        hparams_file: str | Path | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Load a model of the class that was saved, after checking that its file is whole.

        A checkpoint of a run from the command line needs no further arguments; one of a run from
        Python needs the networks again, as keyword arguments. No code of the file is ever run.

        Raises:
            CheckpointError: If the file is missing, damaged or not a checkpoint.
            ValueError: If it holds a model of another class, or of one that was not imported.
        """
        silence_jsonargparse()
        saved_class: type[Self] = cls
        if isinstance(checkpoint_path, str | Path) and "://" not in str(checkpoint_path):
            parameters = read_checkpoint(Path(checkpoint_path)).get("hyper_parameters", {})
            if "_class_path" in parameters:
                saved_class = _imported_subclass(parameters["_class_path"], cls)
        return super(GenerativeModule, saved_class).load_from_checkpoint(
            checkpoint_path, map_location, hparams_file, strict, weights_only=True, **kwargs
        )


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Keep a network's weights out of what is differentiated for a while."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _imported_subclass(path: str, base: type[Model]) -> type[Model]:
    """Return a class by its path without importing anything, which would run code."""
    module, _, name = path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    if isinstance(found, type) and issubclass(found, base):
        return found
    raise ValueError(
        f"Expected a checkpoint of {base.__name__}, got one of {path}. "
        "If that is a kind of it, import it first."
    )


def _is_plain(value: Any) -> bool:
    """Tell whether a hyper-parameter is made of numbers and text alone."""
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _check_labels(labels: Tensor, n: int, num_classes: int) -> None:
    if labels.shape != (n,) or labels.is_floating_point():
        raise ValueError(
            f"Expected 'labels' to be {n} integers, got {tuple(labels.shape)} of {labels.dtype}."
        )
    low, high = (int(bound) for bound in labels.aminmax())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"Expected 'labels' in [0, {num_classes - 1}], got {low if low < 0 else high}."
        )
