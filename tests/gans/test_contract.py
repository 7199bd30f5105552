"""What every public variant promises, found by enumeration."""

from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor

from lightning_gan.callbacks import GeneratorEMA
from lightning_gan.gans import AdversarialModule
from lightning_gan.training.batch import unpack
from tests.toys import (
    VARIANTS,
    ToyData,
    flat,
    image_networks,
    images,
    labelled,
    networks_for,
    points,
    toy_networks,
    toy_trainer,
)

every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)


@every_variant
@pytest.mark.parametrize("networks", [toy_networks, image_networks])
def test_terms_are_finite_scalars(variant: type[AdversarialModule], networks: Any) -> None:
    model = variant(**networks_for(variant, networks))
    real = unpack(labelled(points() if networks is toy_networks else images()).batches[0])
    fake = model.generate(len(real.samples), real.labels)
    for loss in (model.discriminator_loss, model.generator_loss):
        terms = loss(real, fake)
        assert terms
        for term in terms.values():
            assert term.shape == ()
            assert term.isfinite()


@every_variant
def test_updates_leave_the_other_network_alone(
    variant: type[AdversarialModule], tmp_path: Path
) -> None:
    for skipped, trained in (
        ("_update_generator", "discriminator"),
        ("_update_discriminator", "generator"),
    ):
        model = variant(**networks_for(variant))
        before = {name: flat(net) for name, net in model.named_children() if flat_or_none(net)}
        with patch.object(model, skipped):
            toy_trainer(tmp_path, max_steps=-1, max_epochs=1).fit(model, labelled(points()))
        for name in ("generator", "discriminator"):
            network = getattr(model, name)
            same = torch.equal(flat(network), before[name])
            assert same == (name != trained)
            if same:
                assert all(p.grad is None for p in network.parameters())
                assert all(p.requires_grad for p in network.parameters())


def flat_or_none(network: Any) -> bool:
    return network is not None and next(network.parameters(), None) is not None


@every_variant
def test_everything_counts_generator_iterations(
    variant: type[AdversarialModule], tmp_path: Path
) -> None:
    model = variant(**networks_for(variant), n_critic=3)
    steps: Counter[int] = Counter()
    checkpoints = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2, save_top_k=-1)
    logger = CSVLogger(tmp_path, name="log", version="")
    trainer = toy_trainer(
        tmp_path,
        max_steps=7,
        callbacks=[checkpoints],
        enable_checkpointing=True,
        logger=logger,
        log_every_n_steps=2,
    )

    class Counting(ToyData):
        def train_dataloader(self) -> Any:
            for i, optimizer in enumerate(trainer.optimizers):
                optimizer.register_step_post_hook(lambda *_, i=i: steps.update([i]))
            return super().train_dataloader()

    trainer.fit(model, Counting(*labelled(points(batches=3)).batches))
    assert trainer.global_step == 7
    assert steps == {0: 7, 1: 21}
    assert {path.stem for path in tmp_path.glob("*.ckpt")} == {"step=2", "step=4", "step=6"}
    rows = (tmp_path / "log" / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("step")
    assert [row.split(",")[column] for row in rows[1:]] == ["1", "3", "5"]
    assert model.images_seen == 7 * 20


@every_variant
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "bf16-true", "64-true"])
def test_precisions(variant: type[AdversarialModule], precision: Any, tmp_path: Path) -> None:
    model = variant(**networks_for(variant, image_networks))
    before = flat(model).double()
    options: dict[str, Any] = {"precision": precision}
    if precision == "16-mixed":  # which Lightning would turn into bf16 on a CPU
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
        options = {"plugins": MixedPrecision("16-mixed", "cpu", scaler)}
    seen: set[torch.dtype] = set()
    outputs = model.outputs

    def spy(*args: Any, **kwargs: Any) -> Tensor:
        seen.add((result := outputs(*args, **kwargs)).dtype)
        return result

    data = labelled(images()).train_dataloader()
    with patch.object(model, "outputs", spy):
        toy_trainer(tmp_path, **options).fit(model, data, val_dataloaders=data)
    assert flat(model).isfinite().all()
    assert not torch.equal(flat(model).double(), before)
    assert seen == {torch.float64 if precision == "64-true" else torch.float32}


@every_variant
def test_conditional_networks(variant: type[AdversarialModule], tmp_path: Path) -> None:
    model = variant(**networks_for(variant, conditional=True))
    toy_trainer(tmp_path, callbacks=[GeneratorEMA()]).fit(model, labelled(points()))
    latents = torch.zeros(2, model.latent_dim)
    first, second = model.render(latents, torch.tensor([0, 1]))
    assert not torch.equal(first, second)
    assert model.sample(5).shape == (5, 2)
    assert model.sample(2, torch.tensor([2, 0])).shape == (2, 2)


@every_variant
def test_sample_shape_range_and_reproducibility(variant: type[AdversarialModule]) -> None:
    model = variant(**networks_for(variant, image_networks))
    draws = [model.sample(300, generator=torch.Generator().manual_seed(5)) for _ in range(2)]
    assert draws[0].shape == (300, 1, 8, 8)
    assert draws[0].dtype == torch.float32
    assert draws[0].abs().max() <= 1
    assert not draws[0].requires_grad
    assert torch.equal(*draws)
    assert all(module.training for module in model.modules())
    # Each sample depends on its latent alone, not on its neighbours nor on the chunks.
    latents = torch.randn(300, model.latent_dim)
    labels = model.sample_labels(300)
    alone = model.render(latents[254:258], None if labels is None else labels[254:258])
    torch.testing.assert_close(model.render(latents, labels)[254:258], alone, rtol=1e-5, atol=1e-6)


@every_variant
def test_validate_test_and_predict(variant: type[AdversarialModule], tmp_path: Path) -> None:
    model = variant(**networks_for(variant, image_networks, conditional=True))
    data = labelled(images()).train_dataloader()
    trainer = toy_trainer(tmp_path)
    [validated] = trainer.validate(model, data, verbose=False)
    [tested] = trainer.test(model, data, verbose=False)
    for stage, values in (("val", validated), ("test", tested)):
        for name in ("d_loss", "g_loss", "real_logits", "fake_logits"):
            assert torch.tensor(values[f"{stage}/{name}"]).isfinite()
    predictions = trainer.predict(model, data)
    assert predictions is not None
    assert torch.stack(predictions).shape == (4, 10, 1, 8, 8)  # type: ignore[arg-type]
