from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tvm_shufflenet.errors import ImageError
from tvm_shufflenet.manifest import Input, Preprocessing
from tvm_shufflenet.runtime.frames import read_picture
from tvm_shufflenet.runtime.preprocess import Preprocessor

CAT = Path(__file__).parents[1] / "data" / "cat.jpg"
RAW = Preprocessing(
    resize=256, crop=(224, 224), channel_order="BGR", scale=1, mean=(0, 0, 0), std=(1, 1, 1)
)


def prepare(
    how: Preprocessing, frame: np.ndarray, size: tuple[int, int] = (224, 224)
) -> np.ndarray:
    spec = Input(name="input", shape=(1, 3, *size), dtype="float32", preprocessing=how)
    tensor = np.full(spec.shape, np.nan, np.float32)
    Preprocessor(spec).fill(tensor, [frame])
    return tensor


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_torch(frame: np.ndarray, resize: int, crop: int) -> np.ndarray:
    """Resize, CenterCrop, ToTensor and Normalize, as torchvision defines them for PIL pictures."""
    import torch

    picture = Image.fromarray(frame)
    width, height = picture.size
    longer = int(resize * max(width, height) / min(width, height))
    size = (resize, longer) if width <= height else (longer, resize)
    picture = picture.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - crop) / 2.0), round((size[1] - crop) / 2.0)
    picture = picture.crop((left, top, left + crop, top + crop))
    tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
    tensor = tensor.to(torch.float32).div(255)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    return tensor.sub(mean).div(std).unsqueeze(0).numpy()


@pytest.mark.parametrize("size", [(300, 451), (224, 224), (256, 256), (901, 40), (33, 32)])
def test_preprocessing_equals_pytorchs_bit_for_bit(size: tuple[int, int]) -> None:
    frame = noise(*size)
    prepared = prepare(Preprocessing(resize=256, crop=(224, 224)), frame)
    np.testing.assert_array_equal(prepared, by_torch(frame, 256, 224))


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 90), st.integers(8, 90), st.integers(0, 99))
def test_small_pictures_equal_pytorchs_too(height: int, width: int, seed: int) -> None:
    frame = noise(height, width, seed)
    prepared = prepare(Preprocessing(resize=36, crop=(32, 32)), frame, (32, 32))
    np.testing.assert_array_equal(prepared, by_torch(frame, 36, 32))


def test_a_photograph_equals_pytorchs() -> None:
    frame = read_picture(CAT)
    prepared = prepare(Preprocessing(resize=256, crop=(224, 224)), frame)
    np.testing.assert_array_equal(prepared, by_torch(frame, 256, 224))


def test_weights_that_want_raw_bgr_get_it() -> None:
    frame = noise(256, 256)
    expected = frame[16:240, 16:240, ::-1].transpose(2, 0, 1)[None]
    np.testing.assert_array_equal(prepare(RAW, frame), expected)


def test_mean_and_std_are_in_the_networks_channel_order() -> None:
    how = Preprocessing(
        resize=None, crop=None, channel_order="BGR", scale=1, mean=(1, 2, 3), std=(1, 2, 4)
    )
    frame = np.full((32, 32, 3), (30, 20, 10), np.uint8)
    assert prepare(how, frame, (32, 32))[0, :, 5, 5].tolist() == [9, 9, 6.75]


def test_a_graph_that_normalizes_gets_raw_values() -> None:
    how = Preprocessing(resize=None, crop=None, folded=True)
    frame = noise(32, 48)
    expected = frame.transpose(2, 0, 1)[None]
    np.testing.assert_array_equal(prepare(how, frame, (32, 48)), expected)


def test_without_a_crop_the_whole_picture_is_resized() -> None:
    how = Preprocessing(resize=None, crop=None, folded=True)
    frame = noise(61, 117)
    resized = Image.fromarray(frame).resize((131, 97), Image.Resampling.BILINEAR)
    expected = np.asarray(resized).transpose(2, 0, 1)[None]
    np.testing.assert_array_equal(prepare(how, frame, (97, 131)), expected)


@pytest.mark.parametrize("view", ["strided", "negative", "read-only", "transposed"])
@pytest.mark.parametrize("height", [32, 50])
def test_frames_in_any_layout_give_the_same(view: str, height: int) -> None:
    how = Preprocessing(resize=None, crop=None)
    frame = noise(height, 40)
    views = {
        "strided": np.repeat(frame, 2, axis=1)[:, ::2],
        "negative": frame[:, :, ::-1].copy()[:, :, ::-1],
        "read-only": np.frombuffer(frame.tobytes(), np.uint8).reshape(frame.shape),
        "transposed": frame.transpose(1, 0, 2).copy().transpose(1, 0, 2),
    }
    expected = prepare(how, frame, (32, 40))
    np.testing.assert_array_equal(prepare(how, views[view], (32, 40)), expected)


def test_an_absurdly_long_picture_is_refused() -> None:
    with pytest.raises(ImageError, match="too long"):
        prepare(Preprocessing(resize=256, crop=(224, 224)), noise(2, 30_000))


def test_pictures_are_read_upright_and_in_rgb(tmp_path: Path) -> None:
    picture = Image.new("RGB", (20, 10))
    picture.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter
    picture.save(tmp_path / "turned.png", exif=exif)
    upright = read_picture(tmp_path / "turned.png")
    assert upright.shape == (20, 10, 3) and upright[0, 9].tolist() == [255, 0, 0]
    Image.new("LA", (5, 5)).save(tmp_path / "gray.png")
    assert read_picture(tmp_path / "gray.png").shape == (5, 5, 3)


def test_files_that_are_no_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "half.jpg").write_bytes(CAT.read_bytes()[:4000])
    for name, words in (
        ("none.jpg", "No such file"),
        ("text", "not a picture"),
        ("half.jpg", "cannot read the picture"),
        (".", "cannot read the picture"),
    ):
        with pytest.raises(ImageError, match=words):
            read_picture(tmp_path / name)


def test_a_picture_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (2000, 2000)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match="too many pixels"):
        read_picture(tmp_path / "bomb.png")
