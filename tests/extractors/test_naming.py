from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from lightning_gan.extractors import (
    Description,
    Extractor,
    FileExtractor,
    ModuleExtractor,
    extractor_names,
    make_extractor,
    naming,
)
from lightning_gan.extractors.classifier import DomainClassifier


class Named(Extractor):
    def __init__(self, *arguments: Any) -> None:
        super().__init__("named")
        self.arguments = arguments

    def describe(self, images: torch.Tensor) -> Description:
        return Description(images.flatten(1))


def test_names_lead_to_their_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("Inception", "PretrainedExtractor", "Points", "digits_classifier"):
        monkeypatch.setattr(naming, kind, lambda *args, kind=kind: Named(kind, *args))
    found = {
        spec: make_extractor(spec, "file").arguments
        for spec in ("inception", "inception-v3-compat", "vgg16", "dinov2-vit-s-14")
    }
    assert found == {
        "inception": ("Inception", "file"),
        "inception-v3-compat": ("Inception", "file"),
        "vgg16": ("PretrainedExtractor", "vgg16", "file"),
        "dinov2-vit-s-14": ("PretrainedExtractor", "dinov2-vit-s-14", "file"),
    }
    assert make_extractor("points").arguments == ("Points",)
    assert make_extractor("digits").arguments == ("digits_classifier",)


def test_lists_what_torch_fidelity_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "new", FEATURE_EXTRACTORS_REGISTRY["vgg16"])
    assert {"inception", "digits", "points", "clip-rn50", "new"} <= set(extractor_names())


def test_modules_are_wrapped_and_extractors_kept() -> None:
    extractor = make_extractor(nn.Flatten())
    assert isinstance(extractor, ModuleExtractor)
    assert extractor.name == "Flatten"
    assert make_extractor(extractor) is extractor


@pytest.mark.parametrize("as_text", [True, False])
def test_a_file_is_told_by_its_content(tmp_path: Path, as_text: bool) -> None:
    program, own = tmp_path / "program.any", tmp_path / "own.pt2"
    torch.jit.script(nn.Flatten()).save(str(program))
    DomainClassifier(1, (8, 8), num_classes=3).save(own)
    kinds = [type(make_extractor(str(path) if as_text else path)) for path in (program, own)]
    assert kinds == [FileExtractor, DomainClassifier]


def test_unknown_names_and_missing_files_list_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one of .*'inception', 'digits'.*'vgg16'.*got 'resnet'"):
        make_extractor("resnet")
    for spec in ("resnet.pt2", str(tmp_path / "resnet"), tmp_path / "inception"):
        with pytest.raises(FileNotFoundError, match=r"path of a file or one of .*'inception'"):
            make_extractor(spec)


@pytest.mark.parametrize("spec", ["points", "digits", Path("own.pt2"), nn.Flatten(), Named()])
def test_refuses_weights_where_there_are_none_to_load(spec: Any) -> None:
    with pytest.raises(ValueError, match=r"'weights' only with 'inception' or one of .*'vgg16'"):
        make_extractor(spec, "file.pth")


def test_refuses_other_types() -> None:
    with pytest.raises(TypeError, match="a name, a file or a module, got int"):
        make_extractor(3)  # type: ignore[arg-type]
