"""Penalties on logits of before, on copies, on features, on weights and on the game."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn

from lightning_gan import GAN, R3GAN, WGAN
from lightning_gan.layers import equalize_learning_rate, spectral_normalize
from lightning_gan.networks import DiracDiscriminator, DiracGenerator
from lightning_gan.training import (
    Augmentation,
    Batch,
    ConsensusOptimization,
    ConsistencyRegularization,
    ExperienceReplay,
    FeatureMatching,
    LatentConsistency,
    LatentDiversity,
    LeCam,
    LinearSchedule,
    OrthogonalRegularization,
    Penalty,
    read_checkpoint,
)
from tests.ranks import Ranks
from tests.toys import (
    NUM_CLASSES,
    ToyData,
    assert_same,
    flat,
    image_networks,
    images,
    labelled,
    points,
    sgd,
    toy_networks,
    toy_trainer,
)

SLOPE = torch.tensor([3.0, 4.0])
MAP = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])  # of latents (3) to points (2)
REAL, LATENTS = torch.randn(6, 2), torch.randn(6, 3)


class Critic(nn.Module):
    """A linear discriminator with linear features, that counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(SLOPE.clone())
        self.directions = nn.Parameter(torch.tensor([[1.0, 0.0], [1.0, 2.0], [0.0, -1.0]]))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x @ self.slope

    def features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return x @ self.directions.T


def game(*penalties: Penalty, **options: Any) -> GAN:
    """Return a game of linear networks."""
    generator = nn.Linear(3, 2, bias=False)
    generator.weight = nn.Parameter(MAP.clone())
    return GAN(generator, Critic(), latent_dim=3, penalties=penalties, **options)


def critic(model: GAN) -> Critic:
    assert isinstance(model.discriminator, Critic)
    return model.discriminator


def generator_map(model: GAN) -> Tensor:
    [weight] = model.generator.parameters()
    return weight


def generated(latents: Tensor = LATENTS, labels: Tensor | None = None) -> Batch:
    return Batch(latents @ MAP.T, labels, latents)


def assert_near(actual: Tensor, expected: Tensor | float, rtol: float = 1e-5) -> None:
    torch.testing.assert_close(
        actual.detach(), torch.as_tensor(expected, dtype=actual.dtype), rtol=rtol, atol=1e-6
    )


# LeCam


def test_anchors_are_moving_averages() -> None:
    penalty = LeCam(weight=2.0, decay=0.75)
    model = game(penalty)
    real, fake = 0.0, 0.0
    for update in range(3):
        batches = Batch(torch.randn(6, 2)), generated(torch.randn(6, 3))
        means = [(batch.samples @ SLOPE).mean().item() for batch in batches]
        real = means[0] if update == 0 else 0.75 * real + 0.25 * means[0]
        fake = means[1] if update == 0 else 0.75 * fake + 0.25 * means[1]
        term = model.discriminator_terms(*batches, update)["lecam"]
        assert_near(model.state_dict()["penalties.0.anchors"], torch.tensor([real, fake]))
        logits = [batch.samples @ SLOPE for batch in batches]
        expected = (logits[0] - fake).square().mean() + (logits[1] - real).square().mean()
        assert_near(term, 2 * expected)


def test_anchors_are_held_while_the_term_is_not_due() -> None:
    model = game(LeCam(interval=3))
    for update in range(3):
        before = model.state_dict()["penalties.0.anchors"].clone()
        terms = model.discriminator_terms(Batch(torch.randn(6, 2)), generated(), update)
        assert ("lecam" in terms) == (update == 0)
        assert not torch.equal(model.state_dict()["penalties.0.anchors"], before)


def test_one_side_of_the_anchors_may_be_free() -> None:
    penalty = LeCam(one_sided=True)
    penalty.anchors = torch.tensor([1.0, -2.0])  # of real, of generated samples

    def discriminator(x: Tensor) -> Tensor:
        return x[:, 0]

    real, fake = torch.tensor([[-5.0], [3.0]]), torch.tensor([[4.0], [-1.0]])
    term = penalty.penalty(discriminator, real, fake)
    assert_near(term, (0 + (3 + 2) ** 2) / 2 + (0 + (1 + 1) ** 2) / 2)


def test_samples_are_not_judged_twice() -> None:
    model = game(LeCam())
    real, fake = Batch(REAL), generated()
    terms = model.discriminator_terms(real, fake, 0)
    assert critic(model).calls == 2
    (by_slope,) = torch.autograd.grad(terms["lecam"], critic(model).slope)
    logits = [x.samples @ SLOPE for x in (real, fake)]
    pairs = zip((real, fake), logits, reversed([x.mean() for x in logits]), strict=True)
    expected = [2 * ((s - anchor)[:, None] * x.samples).mean(0) for x, s, anchor in pairs]
    assert_near(by_slope, 0.3 * (expected[0] + expected[1]), rtol=1e-4)


def test_our_discriminators_judge_once() -> None:
    model = GAN(**toy_networks(), penalties=[LeCam()])
    calls: list[int] = []
    model.discriminator.register_forward_pre_hook(lambda _, x: calls.append(len(x[0])))
    model.discriminator_terms(Batch(REAL), model.generate(6), 0)
    assert calls == [12]


def test_serves_without_a_game() -> None:
    penalty = LeCam(weight=LinearSchedule(1.0, 0.0, images=100), interval=2)
    term = penalty(lambda x: x @ SLOPE, REAL, LATENTS @ MAP.T, images=50)
    logits = [REAL @ SLOPE, LATENTS @ MAP.T @ SLOPE]
    assert_near(term, 2 * 0.5 * sum(float(x.square().mean()) for x in logits))


def _observe(rank: int) -> tuple[Tensor, Tensor]:
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    penalty = LeCam(decay=0.5)
    for update in range(2):
        logits = torch.full((4, 1), 2.0 * rank + update)
        penalty.observe(logits, -3 * logits)
    return penalty.anchors, penalty.begun


def test_anchors_are_those_of_all_ranks(ranks: Ranks) -> None:
    for anchors, begun in ranks.run(_observe):
        assert anchors.tolist() == [1.5, -4.5]  # means of 1 and 2, and -3 times that
        assert begun.item()


@pytest.mark.parametrize("decay", [-0.1, 1.0, math.nan])
def test_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=rf"Expected 'decay' in \[0, 1\), got {decay}\."):
        LeCam(decay=decay)


# Consistency


class Scale(Augmentation):
    """Multiplies by a number that grows with the images seen."""

    def forward(self, samples: Tensor, images: int) -> Tensor:
        return samples * (3 + images)


@pytest.mark.parametrize("images", [0, 2])
@pytest.mark.parametrize("fake_weight", [0.0, 0.5])
def test_consistency_under_a_linear_change(fake_weight: float, images: int) -> None:
    model = game(ConsistencyRegularization(Scale(), weight=10.0, fake_weight=fake_weight))
    model.images_seen = images
    term = model.discriminator_terms(Batch(REAL), generated(), 0)["consistency"]
    real, fake = (((2 + images) * x @ SLOPE).square().mean() for x in (REAL, LATENTS @ MAP.T))
    assert_near(term, 10 * (real + fake_weight * fake))
    assert critic(model).calls == 2 + 1 + (fake_weight > 0)  # of the loss, and of copies


def test_consistency_gives_copies_their_labels() -> None:
    shown: list[Tensor] = []

    class Labelled(nn.Module):
        num_classes = NUM_CLASSES

        def forward(self, x: Tensor, labels: Tensor) -> Tensor:
            shown.append(labels)
            return x.sum(1)

    model = game(ConsistencyRegularization(Scale(), fake_weight=1.0))
    model.discriminator = Labelled()
    labels = torch.arange(6)
    model.discriminator_terms(Batch(REAL, labels), generated(labels=labels), 0)
    assert len(shown) == 4
    assert all(torch.equal(given, labels) for given in shown)


@pytest.mark.parametrize("bad", [-1.0, math.inf])
def test_weight_of_generated_samples_is_checked(bad: float) -> None:
    with pytest.raises(ValueError, match="Expected 'fake_weight' to be non-negative and finite"):
        ConsistencyRegularization(Scale(), fake_weight=bad)


# Latents


def noise_after(seed: int, std: float, *shape: int) -> Tensor:
    torch.manual_seed(seed)
    noise = std * torch.randn(shape)
    torch.manual_seed(seed)
    return noise


def test_latent_consistency_of_linear_networks() -> None:
    model = game(LatentConsistency(weight=5.0, std=0.3))
    moved = noise_after(7, 0.3, 6, 3) @ MAP.T
    term = model.discriminator_terms(Batch(REAL), generated(), 0)["latent_consistency"]
    assert_near(term, 5 * (moved @ SLOPE).square().mean())
    weights = [critic(model).slope, generator_map(model)]
    by_slope, by_map = torch.autograd.grad(term, weights, allow_unused=True)
    assert_near(by_slope, 10 * ((moved @ SLOPE)[:, None] * moved).mean(0))
    assert by_map is None
    assert critic(model).calls == 3


def test_latent_diversity_of_a_linear_generator() -> None:
    model = game(LatentDiversity(weight=0.5, std=0.3))
    fake = model.regenerate(LATENTS, None)
    noise = noise_after(7, 0.3, 6, 3)
    term = model.generator_terms(Batch(REAL), fake, 0)["latent_diversity"]
    moved = noise @ MAP.T
    assert_near(term, -0.5 * moved.square().mean())
    (by_map,) = torch.autograd.grad(term, generator_map(model))
    assert_near(by_map, -0.5 * 2 * moved.T @ noise / moved.numel())


def test_latent_terms_are_expectations_over_normal_noise() -> None:
    """E[(w A e)^2] = s^2 |A^T w|^2, and E|A e|^2 = s^2 |A|^2, here over two dimensions."""
    model = game()
    fake = generated(torch.randn(20_000, 3))
    consistency = LatentConsistency(std=0.2).discriminator_penalty(model, fake, fake)
    assert_near(consistency, 0.04 * (MAP.T @ SLOPE).square().sum(), rtol=0.03)
    diversity = LatentDiversity(std=0.2).generator_penalty(model, fake, fake)
    assert_near(diversity, -0.04 * MAP.square().sum() / 2, rtol=0.03)


def test_moved_latents_keep_their_classes() -> None:
    given: list[Tensor] = []

    class Labelled(nn.Module):
        num_classes = NUM_CLASSES

        def forward(self, z: Tensor, labels: Tensor) -> Tensor:
            given.append(labels)
            return z @ MAP.T

    model = game()
    model.generator = Labelled()
    fake = generated(labels=torch.arange(6))
    LatentConsistency().discriminator_penalty(model, fake, fake)
    LatentDiversity().generator_penalty(model, fake, fake)
    assert len(given) == 2
    assert all(torch.equal(labels, torch.arange(6)) for labels in given)


def test_latents_that_are_not_moved_cost_nothing(tmp_path: Path) -> None:
    terms: list[float] = []

    class Watched(LatentConsistency):
        def discriminator_penalty(self, game: Any, real: Batch, fake: Batch) -> Tensor:
            term = super().discriminator_penalty(game, real, fake)
            terms.append(term.item())
            return term

    model = GAN(**toy_networks(), penalties=[Watched(std=0.0)], replay=ExperienceReplay(20))
    toy_trainer(tmp_path, max_steps=3).fit(model, points())
    assert terms == [0.0] * 3


@pytest.mark.parametrize("kind", [LatentConsistency, LatentDiversity])
def test_std_is_checked(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected 'std' to be non-negative.* got -0\.1"):
        kind(std=-0.1)


def test_samples_without_latents_are_refused() -> None:
    batch, model = Batch(REAL), game()
    message = "Expected generated samples with their latents, got None"
    with pytest.raises(ValueError, match=message):
        LatentDiversity().generator_penalty(model, batch, batch)
    for penalty in (LatentConsistency(), ConsensusOptimization()):
        with pytest.raises(ValueError, match=message):
            penalty.discriminator_penalty(model, batch, batch)


# Feature matching


def test_feature_matching_of_linear_features() -> None:
    model = game(FeatureMatching(weight=0.25))
    real = Batch(REAL.clone().requires_grad_())
    fake = model.regenerate(LATENTS, None)
    term = model.generator_terms(real, fake, 0)["feature_matching"]
    directions = critic(model).directions.detach()
    apart = directions @ (REAL.mean(0) - (LATENTS @ MAP.T).mean(0))
    assert_near(term, 0.25 * apart.square().sum())
    inputs = [generator_map(model), real.samples]
    by_map, by_real = torch.autograd.grad(term, inputs, allow_unused=True)
    assert_near(by_map, -0.25 * 2 * torch.outer(directions.T @ apart, LATENTS.mean(0)), rtol=1e-4)
    assert by_real is None
    assert not model.penalties.of_discriminator(model, real, fake, 0, 0)


def test_feature_matching_of_our_networks(tmp_path: Path) -> None:
    """With a weight that drowns the rest, the features' means come together."""
    model = GAN(**toy_networks(), penalties=[FeatureMatching(100.0)], optimizer_d=_rest)
    real = Batch(points(n=200).batches[0] + 2)

    def distance() -> float:
        fake = model.generate(200)
        return float(FeatureMatching().generator_penalty(model, real, fake).detach())

    before = distance()
    trainer = toy_trainer(tmp_path, max_steps=60)
    model._optimizer_factories = (lambda p: torch.optim.Adam(p, 0.02), _rest)
    trainer.fit(model, ToyData(real.samples))
    assert distance() < 0.1 * before


def _rest(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.0)


def test_discriminator_without_features_is_refused(tmp_path: Path) -> None:
    model = GAN(nn.Linear(3, 2), nn.Linear(2, 1), latent_dim=3, penalties=[FeatureMatching()])
    message = "'discriminator' with a method 'features', as MLP.* have it, got Linear"
    with pytest.raises(ValueError, match=message):
        toy_trainer(tmp_path).fit(model, points())


class _Unlabelled(Critic):
    def features(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().features(x)


def test_features_of_an_unconditional_network_take_no_labels() -> None:
    model = game()
    model.discriminator = _Unlabelled()
    assert model.features(Batch(REAL)).shape == (6, 3)


# Orthogonal filters


def not_orthogonal(*matrices: Tensor) -> float:
    """Sum the squared products of different rows, in a plain loop."""
    total = 0.0
    for matrix in matrices:
        rows = matrix.detach().double().numpy()
        for i, first in enumerate(rows):
            for j, second in enumerate(rows):
                if i != j:
                    total += float(np.sum(first.ravel() * second.ravel())) ** 2
    return total


def layers() -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "linear": nn.Linear(3, 4),
            "convolution": nn.Conv2d(4, 6, 3, groups=2),
            "transposed": nn.ConvTranspose2d(3, 5, 2),
            "embedding": nn.Embedding(7, 3),
            "norm": nn.BatchNorm2d(4),
        }
    )


def orthogonal_of(network: nn.Module, part: Any) -> Tensor | None:
    other = nn.Linear(2, 2)
    networks = {"generator": other, "discriminator": other} | {part: network}
    model: Any = type("Model", (), networks)
    penalty = OrthogonalRegularization(part, weight=1.0)
    term = getattr(penalty, f"{part}_penalty")(model, Batch(REAL), Batch(REAL))
    other_part = {"generator": "discriminator", "discriminator": "generator"}[part]
    assert getattr(penalty, f"{other_part}_penalty")(model, Batch(REAL), Batch(REAL)) is None
    assert term is None or isinstance(term, Tensor)
    return term


@pytest.mark.parametrize("part", ["generator", "discriminator"])
@pytest.mark.parametrize("change", [lambda x: x, spectral_normalize, equalize_learning_rate])
def test_filters_of_all_layers_but_embeddings(change: Any, part: str) -> None:
    plain = layers()
    weights = {name: plain.get_parameter(f"{name}.weight").clone() for name in plain}
    term = orthogonal_of(change(plain), part)
    if change is equalize_learning_rate:  # which draws what the weights are computed from anew
        originals = dict(plain.named_parameters())
        weights = {n: originals[f"{n}.parametrizations.weight.original"] for n in weights
                   if n not in ("norm", "embedding")}  # fmt: skip
    filters = weights["linear"], weights["convolution"], weights["transposed"].transpose(0, 1)
    assert term is not None
    assert_near(term, not_orthogonal(*filters), rtol=1e-4)


def test_looking_at_spectral_norms_changes_nothing() -> None:
    network = spectral_normalize(layers())
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    orthogonal_of(network, "discriminator")
    assert_same(dict(network.named_buffers()), before)


def test_weight_of_several_originals_is_taken_as_it_is() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))
    term = orthogonal_of(layer, "generator")
    assert term is not None
    assert_near(term, not_orthogonal(layer.weight), rtol=1e-4)
    assert len(torch.autograd.grad(term, list(layer.parametrizations.parameters()))) == 2


def test_network_without_filters_is_refused() -> None:
    with pytest.raises(ValueError, match=r"convolutions or linear layers, got DiracGenerator\."):
        orthogonal_of(DiracGenerator(), "generator")


def test_orthogonal_network_is_checked() -> None:
    with pytest.raises(ValueError, match=r"Expected 'network' to be one of .* got 'both'"):
        OrthogonalRegularization("both")  # type: ignore[arg-type]


# Consensus


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def consensus_of_minimax(theta: float, psi: float) -> tuple[float, float]:
    """v = (-psi s, theta s), s = sigma(theta psi): (theta^2 + psi^2) s^2 / 2 differentiated."""
    s = sigma(theta * psi)
    inner = (theta**2 + psi**2) * s**2 * (1 - s)
    return theta * s**2 + inner * psi, psi * s**2 + inner * theta


def consensus_of_non_saturating(theta: float, psi: float) -> tuple[float, float]:
    """v = (-psi (1 - s), theta s): (psi^2 (1 - s)^2 + theta^2 s^2) / 2 differentiated."""
    s = sigma(theta * psi)
    slope = s * (1 - s) * (theta**2 * s - psi**2 * (1 - s))
    return theta * s**2 + slope * psi, psi * (1 - s) ** 2 + slope * theta


def consensus_of_wasserstein(theta: float, psi: float) -> tuple[float, float]:
    """v = (-psi, theta)."""
    return theta, psi


def consensus_of_pairing(theta: float, psi: float) -> tuple[float, float]:
    """L_D = softplus(theta psi), L_G = softplus(-theta psi), as the real logit is 0."""
    return consensus_of_non_saturating(theta, psi)


DIRAC: list[Any] = [
    (GAN, {"generator_objective": "minimax"}, consensus_of_minimax),
    (GAN, {}, consensus_of_non_saturating),
    (WGAN, {"weight_clip_val_d": None}, consensus_of_wasserstein),
    (R3GAN, {"gamma": 0.0}, consensus_of_pairing),
]


@pytest.mark.parametrize(("variant", "options", "closed_form"), DIRAC)
@pytest.mark.parametrize("place", [(1.0, 1.0), (-0.7, 2.0), (0.3, -1.5)])
def test_consensus_on_the_dirac_game(
    variant: Any, options: Any, closed_form: Any, place: tuple[float, float]
) -> None:
    networks = DiracGenerator(place[0]), DiracDiscriminator(place[1])
    model = variant(*networks, penalties=[ConsensusOptimization(4.0)], **options)
    real, fake = Batch(torch.zeros(5, 1)), model.generate(5)
    by_theta, by_psi = closed_form(*place)
    term = model.generator_terms(real, fake, 0)["consensus"]
    assert_near(torch.autograd.grad(term, networks[0].theta)[0], torch.tensor([4 * by_theta]))
    with torch.no_grad():
        fake = model.generate(5)
    term = model.discriminator_terms(real, fake, 0)["consensus"]
    assert_near(torch.autograd.grad(term, networks[1].psi)[0], torch.tensor([4 * by_psi]))


def test_consensus_through_the_trainer(tmp_path: Path) -> None:
    theta, psi, gamma, rate = 1.0, 0.5, 4.0, 0.05
    model = WGAN(
        DiracGenerator(theta),
        DiracDiscriminator(psi),
        n_critic=1,
        updates="simultaneous",
        weight_clip_val_d=None,
        penalties=[ConsensusOptimization(gamma)],
        optimizer_g=sgd,
        optimizer_d=sgd,
    )
    toy_trainer(tmp_path, max_steps=3).fit(model, ToyData(torch.zeros(8, 1)))
    for _ in range(3):
        theta, psi = theta - rate * (gamma * theta - psi), psi - rate * (gamma * psi + theta)
    assert_near(flat(model), torch.tensor([theta, psi]))


def test_weights_that_no_loss_needs_do_no_harm() -> None:
    networks = DiracGenerator(0.5), DiracDiscriminator(2.0)
    networks[0].unused = nn.Parameter(torch.ones(3))
    model = GAN(*networks, penalties=[ConsensusOptimization()])
    term = model.generator_terms(Batch(torch.zeros(5, 1)), model.generate(5), 0)["consensus"]
    expected = 10 * (4 * sigma(-1.0) ** 2 + 0.25 * sigma(1.0) ** 2) / 2
    assert_near(term, expected)


def test_consensus_leaves_no_logits_behind() -> None:
    model = GAN(**toy_networks(), penalties=[ConsensusOptimization()])
    model.generator_terms(Batch(REAL), model.generate(6), 0)
    assert model._judged == []


def test_consensus_records_nothing_of_its_own() -> None:
    model = WGAN(**toy_networks(), penalties=[ConsensusOptimization()])
    model.discriminator_terms(Batch(REAL), model.generate(6), 0)
    assert len(model._record._values["wasserstein"]) == 1
    assert len(model._record._values["real_logits"]) == 1


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own, in dynamo
def test_consensus_of_compiled_networks(tmp_path: Path) -> None:
    model = GAN(**toy_networks(), penalties=[ConsensusOptimization()], compile_networks=True)
    for network in (model.generator, model.discriminator):
        network.compile = lambda *_, n=network: nn.Module.compile(n, backend="aot_eager")  # type: ignore[method-assign]
    toy_trainer(tmp_path).fit(model, points())


# All of them in training


def every_regularizer() -> list[Penalty]:
    return [
        LeCam(decay=0.5),
        ConsistencyRegularization(Scale(), weight=0.01, fake_weight=1.0, interval=2),
        LatentConsistency(),
        LatentDiversity(),
        FeatureMatching(LinearSchedule(1.0, 0.0, images=30)),
        OrthogonalRegularization(),
        ConsensusOptimization(0.1),
    ]


def conditional_model(networks: Any = image_networks) -> GAN:
    torch.manual_seed(0)
    return GAN(
        **networks(NUM_CLASSES),
        n_critic=2,
        penalties=every_regularizer(),
        replay=ExperienceReplay(20),
        optimizer_g=sgd,
        optimizer_d=sgd,
    )


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed", "64-true"])
def test_precisions(precision: Any, tmp_path: Path) -> None:
    model = conditional_model()
    before = flat(model).double()
    options: dict[str, Any] = {"precision": precision}
    if precision == "16-mixed":  # which Lightning would turn into bf16 on a CPU
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
        options = {"plugins": MixedPrecision("16-mixed", "cpu", scaler)}
    trainer = toy_trainer(tmp_path, max_steps=3, log_every_n_steps=1, **options)
    trainer.fit(model, labelled(images()))
    assert flat(model).isfinite().all()
    assert not torch.equal(flat(model).double(), before)
    found = {name for name in trainer.callback_metrics if name.count("_") > 1 or "lecam" in name}
    assert {"train/d_lecam", "train/g_latent_diversity", "train/g_feature_matching"} <= found
    assert {"train/d_consensus", "train/g_consensus", "train/g_orthogonal"} <= set(
        trainer.callback_metrics
    )


def test_resume_is_exact(tmp_path: Path) -> None:
    checkpoints = []
    for stops in ([4], [2, 4]):
        last = None
        for stop in stops:
            trainer = toy_trainer(tmp_path, max_steps=stop)
            trainer.fit(conditional_model(), labelled(images(batches=1)), ckpt_path=last)
            last = tmp_path / "last.ckpt"
            trainer.save_checkpoint(last)
        checkpoints.append(read_checkpoint(last)["state_dict"])  # type: ignore[arg-type]
    assert "penalties.0.anchors" in checkpoints[0]
    assert_same(checkpoints[1], checkpoints[0])


def _train_rank(rank: int, folder: Path) -> tuple[Tensor, dict[str, Tensor]]:
    model = conditional_model()
    batches = torch.rand(2, 10, 1, 8, 8, generator=torch.Generator().manual_seed(rank)) * 2 - 1
    options: dict[str, Any] = {"strategy": "ddp", "devices": 2, "precision": "bf16-mixed"}
    toy_trainer(folder, **options).fit(model, labelled(ToyData(*batches)))
    return flat(model), model.penalties.state_dict()


def test_two_ranks_stay_equal(ranks: Ranks, tmp_path: Path) -> None:
    (weights, state), (other_weights, other_state) = ranks.run(_train_rank, tmp_path)
    assert weights.isfinite().all()
    assert torch.equal(weights, other_weights)
    assert_same(other_state, state)
    assert state["0.begun"].item()
