"""MAD-GAN against torch's cross-entropy, its optimum, and generators that nobody chose."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from lightning_gan import MADGAN
from lightning_gan.networks import MixtureGenerator, MLPDiscriminator, MLPGenerator
from lightning_gan.training import GradientPenalty
from lightning_gan.training.batch import Batch
from tests.ranks import Ranks
from tests.toys import ToyData, flat, points, sgd, toy_networks, toy_trainer

K = 3
REAL, FAKE = torch.randn(6, 2), torch.randn(6, 2)
MAKERS = torch.tensor([0, 2, 2, 1, 0, 1])
LATENTS = torch.cat([torch.randn(6, 2), one_hot(MAKERS, K)], dim=1)  # the last K coordinates choose


def _mixture() -> MixtureGenerator:
    return MixtureGenerator(MLPGenerator(latent_dim=2, hidden=(4,)), K)


def _model(outputs: int = 1 + K, **options: Any) -> MADGAN:
    return MADGAN(_mixture(), nn.Linear(2, outputs), **options)


def test_terms_are_cross_entropies_of_all_makers() -> None:
    model = _model()
    real, fake = Batch(REAL), Batch(FAKE, latents=LATENTS)
    real_outputs, fake_outputs = model.discriminator(REAL), model.discriminator(FAKE)
    d_terms = model.discriminator_loss(real, fake)
    expected = cross_entropy(real_outputs, torch.zeros(6, dtype=torch.int64))
    torch.testing.assert_close(d_terms["real"], expected, rtol=1e-5, atol=1e-5)
    expected = cross_entropy(fake_outputs, 1 + MAKERS)
    torch.testing.assert_close(d_terms["generators"], K * expected, rtol=1e-5, atol=1e-5)
    # The generators are judged by the probability of being real, whoever of them made a sample.
    [g_term] = model.generator_loss(real, fake).values()
    expected = -fake_outputs.softmax(dim=1)[:, 0].log().mean()
    torch.testing.assert_close(g_term, expected, rtol=1e-5, atol=1e-5)


def test_verdict_is_the_log_odds_of_being_real() -> None:
    model = _model().double()
    outputs = 3 * torch.randn(20, 1 + K, dtype=torch.float64)
    probability = outputs.exp()[:, 0] / outputs.exp().sum(dim=1)
    expected = (probability / (1 - probability)).log()
    torch.testing.assert_close(model.verdict(outputs), expected, rtol=1e-10, atol=1e-10)
    assert model.verdict(torch.tensor([[200.0, 0, 0, 0], [-200.0, 0, 0, 0]])).isfinite().all()


def test_optimum_of_equal_distributions() -> None:
    """Then D_0 = D_k = 1 / (K + 1), and the loss (K + 1) log (K + 1) cannot be lowered."""
    model = _model()
    discriminator = model.discriminator
    assert isinstance(discriminator, nn.Linear)
    nn.init.zeros_(discriminator.weight)
    nn.init.zeros_(discriminator.bias)
    batch = Batch(REAL, latents=LATENTS)  # which names each generator twice
    loss = torch.stack([*model.discriminator_loss(batch, batch).values()]).sum()
    assert loss.item() == pytest.approx((K + 1) * math.log(K + 1))
    for gradient in torch.autograd.grad(loss, discriminator.bias):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-6)
    verdict = model.verdict(discriminator(REAL))
    torch.testing.assert_close(verdict, torch.full((6,), -math.log(K)), rtol=0, atol=1e-6)


def test_penalty_is_on_the_verdict(tmp_path: Path) -> None:
    """With equal rows for the generators, the log-odds have the slope of the difference."""
    model = _model(penalties=[GradientPenalty(10.0)], optimizer_g=sgd, optimizer_d=sgd)
    weight = torch.tensor([[4.0, 4.0], *[[1.0, 0.0]] * K])
    model.discriminator.weight = nn.Parameter(weight)
    nn.init.zeros_(model.discriminator.bias)  # type: ignore[arg-type]
    trainer = toy_trainer(tmp_path, max_steps=1, log_every_n_steps=1)
    trainer.fit(model, ToyData(REAL))
    logged = trainer.callback_metrics["train/d_gradient_penalty"].item()
    assert logged == pytest.approx(10 * (5 - 1) ** 2)


def test_generator_that_nobody_chose_gets_no_gradient() -> None:
    model = _model()
    made = model.generator(LATENTS[MAKERS != 1])
    terms = model.generator_loss(Batch(REAL), Batch(made, latents=LATENTS[MAKERS != 1]))
    terms["adversarial"].backward()  # type: ignore[no-untyped-call, unused-ignore]
    for k, generator in enumerate(_parts(model)):
        for parameter in generator.parameters():
            assert (parameter.grad is None) == (k == 1)


def _parts(model: MADGAN) -> nn.ModuleList:
    assert isinstance(model.generator, MixtureGenerator)
    return model.generator.generators


# Generators chosen in each iteration, on each of two ranks.
CHOICES = [((0,), (1,)), ((2,), (2,)), ((0, 1), (0, 2)), ((1,), (1,))]


class _Chosen(MADGAN):
    """Its latents choose what the test says."""

    def sample_latents(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        latents = super().sample_latents(n, generator)
        chosen = torch.tensor(CHOICES[self.trainer.global_step][self.global_rank])
        assert isinstance(self.generator, MixtureGenerator)
        return self.generator.assign(latents, chosen[torch.arange(n) % len(chosen)])

    def on_train_batch_end(self, *_: Any) -> None:
        self.history.append(torch.stack([flat(part) for part in _parts(self)]))

    history: list[Tensor]


def _train_rank(rank: int, folder: Path) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    model = _Chosen(_mixture(), MLPDiscriminator(hidden=(4,), num_outputs=1 + K))
    model.history = [torch.stack([flat(part) for part in _parts(model)])]
    batches = torch.randn(len(CHOICES), 8, 2, generator=torch.Generator().manual_seed(rank))
    options: dict[str, Any] = {"strategy": "ddp", "devices": 2, "log_every_n_steps": 1}
    toy_trainer(folder, max_steps=len(CHOICES), **options).fit(model, ToyData(*batches))
    return torch.stack(model.history), flat(model)


def test_generators_that_not_every_rank_chose(ranks: Ranks, tmp_path: Path) -> None:
    (history, weights), (other_history, other_weights) = ranks.run(_train_rank, tmp_path)
    assert torch.equal(history, other_history)
    assert torch.equal(weights, other_weights)
    assert weights.isfinite().all()
    for step, choices in enumerate(CHOICES):
        moved = (history[step + 1] != history[step]).any(dim=1)
        # Adam, too, leaves alone what has no gradient, in spite of its momentum.
        assert moved.tolist() == [any(k in chosen for chosen in choices) for k in range(K)]


def test_defaults() -> None:
    model = _model()
    assert (model.n_critic, model.num_outputs) == (1, 1 + K)
    for optimizer in model.configure_optimizers()[0]:
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["lr"] == 2e-4
        assert optimizer.defaults["betas"] == (0.5, 0.999)


def test_networks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    message = r"Expected a MixtureGenerator as 'generator' of MADGAN, got MLPGenerator\. Wrap it"
    with pytest.raises(ValueError, match=message):
        MADGAN(**toy_networks(num_outputs=1 + K))
    with pytest.raises(ValueError, match=r"with num_outputs=4, .* got num_outputs=5\."):
        MADGAN(_mixture(), MLPDiscriminator(num_outputs=5))
    model = _model(outputs=1)  # a foreign one, whose outputs are seen only when it is run
    before = flat(model)
    with pytest.raises(ValueError, match=r"4 outputs per sample, \(2, 4\), got \(2, 1\)\."):
        toy_trainer(tmp_path).fit(model, points())
    assert torch.equal(flat(model), before)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"MADGAN has no argument 'real_target'\. .* GAN "):
        _model(real_target=0.9)
    with pytest.raises(TypeError, match=r"Did you mean 'latent_dim'\?"):
        _model(latents_dim=3)
