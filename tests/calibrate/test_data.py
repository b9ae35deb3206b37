"""What DATA on the command line and `qcore.data.open` read, and how they refuse."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from qcore import data
from qcore.errors import BadInput

PIXELS = np.arange(60, dtype=np.uint8).reshape(5, 3, 4)


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    path = tmp_path / "d.npz"
    np.savez_compressed(
        path, x_calib=PIXELS[:2], y_calib=np.arange(2), x_test=PIXELS, y_test=np.arange(5),
        x=PIXELS[:3], other=np.asfortranarray(PIXELS.astype(np.float64)), short=PIXELS[:1],
    )  # fmt: skip
    return path


def test_npz_names_by_part(npz: Path) -> None:
    calibration = data.open(npz)
    assert len(calibration) == 2 and np.array_equal(list(calibration), PIXELS[:2])
    assert np.array_equal(list(calibration), PIXELS[:2]), "a second pass reads again"
    evaluation = data.open(str(npz), part="evaluation")
    assert np.array_equal(evaluation.labels, np.arange(5)) and len(evaluation) == 5
    other = data.open(npz, x="other", y="y_test")
    assert np.array_equal(list(other), PIXELS) and next(iter(other)).dtype == np.float64
    pair = next(iter(data.open(npz, x="x_test,other")))
    assert isinstance(pair, tuple) and np.array_equal(pair[1], PIXELS[0])


def test_mean_std_and_limit(npz: Path) -> None:
    source = data.open(npz, mean=127.5, std=127.5, limit=1, part="evaluation")
    (only,) = source
    assert only.dtype == np.float32 and len(source) == 1 and len(source.labels) == 1
    assert np.array_equal(
        only, (PIXELS[0].astype(np.float32) - np.float32(127.5)) / np.float32(127.5)
    )
    assert next(iter(data.open(npz))).dtype == np.uint8


def test_npz_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "cut.npz"
    np.savez(path, x=np.zeros((100, 1000)))
    rows = iter(data.open(path))
    assert next(rows).shape == (1000,)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="cannot be read"):
        data.open(path)


def test_npy(tmp_path: Path) -> None:
    path = tmp_path / "d.npy"
    np.save(path, PIXELS)
    assert np.array_equal(list(data.open(path)), PIXELS) and len(data.open(path)) == 5


def test_folder(tmp_path: Path) -> None:
    from PIL import Image

    picture = np.zeros((8, 12, 3), np.uint8)
    picture[:, 2:10] = 200  # the central square
    (tmp_path / "sub").mkdir()
    Image.fromarray(picture).save(tmp_path / "b.png")
    Image.fromarray(picture[:, :, 0]).save(tmp_path / "sub" / "a.png")
    (tmp_path / "notes.txt").write_text("no image")
    source = data.open(tmp_path, size=4, std=2, resample="box")
    first, second = source
    assert len(source) == 2 and first.shape == (1, 4, 4, 3) and first.dtype == np.float32
    assert (first == 100).all() and (second == 100).all()
    assert next(iter(data.open(tmp_path, size=(2, 3)))).shape == (1, 2, 3, 3)
    ways = [next(iter(data.open(tmp_path, size=5, crop=1.0, resample=r))) for r in data.RESAMPLING]
    assert len(ways) == 5
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(BadInput, match=r"broken\.jpg cannot be read"):
        list(data.open(tmp_path, size=4))


def test_corpus_pictures_are_the_corpus_readme(corpus) -> None:
    from tests import corpus as module

    folder = module.ROOT / "data" / "photos"
    entry = module.entry("effnet_lite0_f32")
    how = entry.input
    ours = data.open(
        folder, size=how["size"], crop=how["crop"], mean=how["mean"], std=how["std"],
        resample="bicubic", limit=2,
    )  # fmt: skip
    for mine, theirs in zip(ours, entry.samples(2), strict=True):
        assert np.array_equal(mine, theirs)


def test_function(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "my_samples_module.py").write_text(
        "import numpy as np\n"
        "def make():\n    for i in range(3):\n        yield {'a': np.full(2, i, np.uint8)}\n"
        "listed = [np.ones(1)]\n"
        "def nothing():\n    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    source = data.open("my_samples_module:make", std=2)
    assert [s["a"][0] for s in source] == [0.0, 0.5, 1.0] and len(list(source)) == 3
    assert len(list(data.open("my_samples_module:make", limit=2))) == 2
    assert len(list(data.open("my_samples_module:listed"))) == 1
    with pytest.raises(TypeError):
        len(source)
    with pytest.raises(BadInput, match="gave a int"):
        list(data.open("my_samples_module:nothing"))
    with pytest.raises(BadInput, match="has no 'absent'"):
        data.open("my_samples_module:absent")
    with pytest.raises(BadInput, match="cannot be imported"):
        data.open("no_such_module_here:f")


@pytest.mark.parametrize(
    "how, words",
    [
        ({"x": "absent"}, "has no array 'absent'; it has x_calib"),
        ({"x": "x", "y": "short"}, "different lengths (x 3, short 1)"),
        ({"size": 3}, "size has no meaning"),
        ({"limit": 0}, "limit is 0"),
        ({"std": 0.0}, "std not zero"),
        ({"part": "training"}, "'calibration' or 'evaluation'"),
    ],
    ids=str,
)
def test_npz_refusals(npz: Path, how: dict, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        data.open(npz, **how)
    assert words in str(caught.value)


def test_other_refusals(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no file or folder"):
        data.open(tmp_path / "absent")
    with pytest.raises(BadInput, match="give the size"):
        data.open(tmp_path)
    with pytest.raises(BadInput, match="holds no images"):
        data.open(tmp_path, size=3)
    with pytest.raises(BadInput, match="crop is 2"):
        data.open(tmp_path, size=3, crop=2)
    with pytest.raises(BadInput, match="resample"):
        data.open(tmp_path, size=3, resample="magic")
    np.savez(tmp_path / "o.npz", z=PIXELS)
    with pytest.raises(BadInput, match="no array x_calib or x; it has z"):
        data.open(tmp_path / "o.npz")
    np.savez(tmp_path / "p.npz", x=np.array([{}, {}]))
    with pytest.raises(BadInput, match="Python objects"):
        data.open(tmp_path / "p.npz")
    (tmp_path / "t.txt").write_text("text")
    with pytest.raises(BadInput, match=r"neither \.npz nor \.npy"):
        data.open(tmp_path / "t.txt")
