import hashlib
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_gan.extractors import FileExtractor, ModuleExtractor


class Network(nn.Module):
    """Features and logits, through layers that behave otherwise in training."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout())
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scale = torch.full((1,), 255.0, device=x.device)  # a device written into the program
        features = self.layers(x.flatten(1).float() / scale)
        return features, self.head(features)


class Returning(nn.Module):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(x.flatten(1).float()) if callable(self.answer) else self.answer


def images(n: int = 4) -> Tensor:
    return torch.randint(0, 256, (n, 3, 2, 2), dtype=torch.uint8)


def exported(path: Path, network: nn.Module, x: Tensor, dynamic: bool = True) -> Path:
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    torch.export.save(torch.export.export(network, (x,), dynamic_shapes=shapes), path)
    return path


def scripted(path: Path, network: nn.Module) -> Path:
    torch.jit.script(network).save(str(path))
    return path


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    network = Network()
    network(torch.rand(16, 3, 2, 2))  # gives the normalisation something to remember
    return network.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def program(network: Network, folder: Path) -> Path:
    return exported(folder / "own.pt2", network, images())


@pytest.fixture(scope="module")
def script(network: Network, folder: Path) -> Path:
    return scripted(folder / "old.pt", deepcopy(network).train())


def test_a_module_describes_as_it_does_itself(network: Network) -> None:
    extractor, x = ModuleExtractor(network, "own", num_classes=5), images()
    torch.testing.assert_close(tuple(extractor(x)), network(x), rtol=0, atol=0)
    assert (extractor.name, extractor.num_classes, extractor.published) == ("own", 5, False)


def test_a_module_may_return_features_alone() -> None:
    features, logits = ModuleExtractor(nn.Flatten(), "pixels")(x := images())
    torch.testing.assert_close(features, x.flatten(1).float(), rtol=0, atol=0)
    assert logits is None


def test_the_module_itself_goes_on_training() -> None:
    network = Network()
    extractor, x = ModuleExtractor(network, "own"), images()
    before = extractor(x).features
    assert network.training
    assert all(p.requires_grad for p in network.parameters())
    assert not any(p.requires_grad for p in extractor.parameters())
    network.head.weight.data.zero_()
    network.layers.get_parameter("0.weight").data.zero_()
    torch.testing.assert_close(extractor(x).features, before, rtol=0, atol=0)


class Reversed(Network):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = super().forward(x)
        return -features, logits


def test_digest_of_a_module_covers_weights_settings_and_code() -> None:
    def digest(kind: type[Network], dropout: float = 0.5, bias: float = 0) -> str:
        torch.manual_seed(0)
        network = kind()
        network.layers[2].p = dropout  # type: ignore[assignment]
        network.head.bias.data += bias
        return ModuleExtractor(network, "own").digest()

    before = digest(Network)
    assert digest(Network) == before
    assert len({before, digest(Reversed), digest(Network, 0.4), digest(Network, bias=1e-3)}) == 4


def test_digest_of_a_module_holds_no_address_in_memory() -> None:
    class Applying(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.function = object()

        def extra_repr(self) -> str:
            return f"function={self.function}"

    first, second = Applying(), Applying()
    assert repr(first) != repr(second)
    assert ModuleExtractor(first, "own").digest() == ModuleExtractor(second, "own").digest()


class AlwaysDropping(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x.flatten(1).float(), 0.2, training=True)


class AlwaysNormalizing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.batch_norm(x.flatten(1).float(), None, None, training=True)


@pytest.mark.parametrize("kind", [AlwaysDropping, AlwaysNormalizing])
def test_refuses_features_that_depend_on_chance_or_on_other_images(kind: Any) -> None:
    extractor = ModuleExtractor(kind(), "own")
    with pytest.raises(ValueError, match=r"'own' to depend on the image alone.*\.eval\(\)"):
        extractor(images(32))


def test_the_check_is_made_once() -> None:
    sizes = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            return x.flatten(1).float()

    extractor = ModuleExtractor(Counting(), "own")
    for n in (1, 5, 4):
        extractor(images(n))
    assert sizes == [1, 5, 3, 4]


@pytest.mark.parametrize(
    "answer",
    [None, {"features": torch.zeros(4, 2)}, [torch.zeros(4, 2)] * 3, (), (None, torch.zeros(4, 2))],
)
def test_refuses_answers_that_are_no_tensors(answer: Any) -> None:
    with pytest.raises(TypeError, match="extractor 'own' to return"):
        ModuleExtractor(Returning(answer), "own")(images())


@pytest.mark.parametrize("shape", [(4,), (4, 2, 1, 1), (3, 2)])
def test_refuses_features_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"'own' to return features \(4, d\), got \("):
        ModuleExtractor(Returning(torch.zeros(shape)), "own")(images())


def test_refuses_another_number_of_classes(network: Network) -> None:
    with pytest.raises(ValueError, match=r"logits \(N, 4\), got shape \(4, 5\)"):
        ModuleExtractor(network, "own", num_classes=4)(images())
    with pytest.raises(ValueError, match=r"logits \(N, 4\), got none"):
        ModuleExtractor(nn.Flatten(), "own", num_classes=4)(images())


def test_a_module_that_takes_no_bytes_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"module of the extractor 'own' .*\(4, 3, 2, 2\) and torch\.uint8 on cpu"
    ):
        ModuleExtractor(nn.Conv2d(3, 2, 1), "own")(images())


def test_lack_of_memory_stays_what_it_is() -> None:
    def full(x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        ModuleExtractor(Returning(full), "own")(images())


def test_an_exported_program_equals_its_network(network: Network, program: Path) -> None:
    extractor = FileExtractor(program)
    for n in (1, 4, 7):
        x = images(n)
        torch.testing.assert_close(tuple(extractor(x)), network(x), rtol=1e-6, atol=1e-6)
    assert extractor.name == "own"
    assert extractor.digest() == hashlib.sha256(program.read_bytes()).hexdigest()


def test_torchscript_saved_in_training_mode_evaluates(network: Network, script: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extractor, x = FileExtractor(script, name="mine"), images()
        found = extractor(x)
    torch.testing.assert_close(tuple(found), network(x), rtol=1e-6, atol=1e-6)
    assert extractor.name == "mine"
    assert extractor.digest() == hashlib.sha256(script.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["program", "script"])
def test_files_stay_in_float32_evaluation_mode_and_out_of_checkpoints(
    kind: str, request: pytest.FixtureRequest
) -> None:
    extractor, x = FileExtractor(request.getfixturevalue(kind)), images()
    expected = extractor(x)
    owner = nn.ModuleDict({"extractor": extractor, "own": nn.Linear(2, 2)}).bfloat16().train()
    assert set(owner.state_dict()) == {"own.weight", "own.bias"}
    owner.load_state_dict(owner.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        found = owner["extractor"](x)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    torch.testing.assert_close(deepcopy(extractor)(x), expected, rtol=0, atol=0)


def test_an_exported_module_can_be_wrapped(network: Network, program: Path) -> None:
    module, x = torch.export.load(program).module(), images()
    extractor = ModuleExtractor(module, "own").train()
    torch.testing.assert_close(tuple(extractor(x)), network(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["program", "script"])
def test_images_that_a_program_does_not_take_are_named(
    kind: str, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(kind)
    x = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(ValueError, match=rf"{path.name} to take .*\(4, 1, 2, 2\) and torch\.uint8"):
        FileExtractor(path)(x)


def test_refuses_a_program_for_one_batch_size(folder: Path) -> None:
    path = exported(folder / "fixed.pt2", nn.Flatten(), images(), dynamic=False)
    with pytest.raises(ValueError, match=r"batches of any size, got one for 4 images.*Dim\("):
        FileExtractor(path)


def test_refuses_a_program_that_takes_no_bytes(folder: Path) -> None:
    path = exported(folder / "floats.pt2", nn.Flatten(), torch.zeros(4, 3, 2, 2))
    with pytest.raises(ValueError, match=r"images of torch\.uint8, got torch\.float32"):
        FileExtractor(path)


def test_refuses_a_program_for_no_images(folder: Path) -> None:
    path = exported(folder / "rows.pt2", nn.Flatten(), torch.zeros(4, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"images \(N, C, H, W\), got \['"):
        FileExtractor(path)


def test_refuses_files_of_something_else(tmp_path: Path, network: Network, program: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "weights.pt2")
    (tmp_path / "text.pt2").write_text("hello")
    (tmp_path / "torn.pt2").write_bytes(program.read_bytes()[:-100])
    for name, hint in (("weights", ", which holds weights without"), ("text", r"\."), ("torn", "")):
        expected = rf"written by torch\.export\.save or torch\.jit\.save, got .*{name}\.pt2{hint}"
        with pytest.raises(ValueError, match=expected):
            FileExtractor(tmp_path / f"{name}.pt2")


def test_refuses_damaged_files(tmp_path: Path, program: Path, script: Path) -> None:
    for path in (program, script):
        content = bytearray(path.read_bytes())
        for at in range(200, len(content) - 4000, 50):
            content[at] ^= 255
        (tmp_path / path.name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"'path' to be a program .*{path.name}: \w+"):
            FileExtractor(tmp_path / path.name)


def test_refuses_missing_files(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"'path' to be the path of a file, got .*none\.pt2"
    ):
        FileExtractor(tmp_path / "none.pt2")


class Powers(nn.Module):
    """Pixels to a power that is no weight."""

    def __init__(self, power: int) -> None:
        super().__init__()
        self.power = power

    def forward(self, images: Tensor) -> Tensor:
        return (images.flatten(1).float() / 255) ** self.power


def test_a_modules_digest_tells_names_and_settings_apart() -> None:
    cases = [(1, "a"), (2, "a"), (1, "b")]
    prints = [ModuleExtractor(Powers(power), name).digest() for power, name in cases]
    assert len(set(prints)) == 3
    assert prints[0] == ModuleExtractor(Powers(1), "a").digest()
