"""Samples from files: what DATA means on the command line, and `qcore.data.open` in Python.

    x.npz            an archive of arrays; calibration takes x_calib, else x; evaluation x_test and
                     y_test, else x and y; others by x= and y= ("a,b" makes tuples of two inputs)
    x.npy            one array; its first axis counts the samples
    folder/          images, also in sub-folders, in order of their paths
    module:function  a function that yields samples (or returns an iterable of them)

A source is an iterable that reads one sample at a time, any number of times over, and knows its
length where that is known without reading. `mean` and `std` make (value - mean) / std, float32, of
whatever is read; without them values pass as they are stored. Images are RGB, cut to the central
square of `crop` times the shorter side, and resized to `size`.
"""

from __future__ import annotations

import builtins
import math
import os
import re
import sys
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qcore import modules
from qcore.errors import BadInput, failure, short

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
RESAMPLING = ("bilinear", "bicubic", "nearest", "box", "lanczos")
# What zipfile, NumPy's headers and memory maps raise for files that are damaged or forged.
DAMAGE = (
    OSError, EOFError, ValueError, OverflowError, RuntimeError, SyntaxError, tokenize.TokenError,
    zipfile.BadZipFile, zlib.error, MemoryError,
)  # fmt: skip
NAMES = {"calibration": ("x_calib", "x"), "evaluation": ("x_test", "x")}


@dataclass(frozen=True)
class Source:
    """Samples that are read while one iterates. Iterating again reads them again.

    what: how messages name it.  read: makes a new iterator.  count: how many, None if unknown.
    read_labels: makes the array of labels, None where there are none.
    """

    what: str
    read: Callable[[], Iterator[Any]]
    count: int | None = None
    read_labels: Callable[[], np.ndarray] | None = None

    def __iter__(self) -> Iterator[Any]:
        return self.read()

    def __len__(self) -> int:
        if self.count is None:
            raise TypeError(
                f"the number of samples of {self.what} is not known before reading them"
            )
        return self.count

    @property
    def labels(self) -> np.ndarray | None:
        """(N,) labels, one for each sample, or None."""
        return None if self.read_labels is None else self.read_labels()


def open(
    spec: Any,
    *,
    x: str | None = None,
    y: str | None = None,
    part: str = "calibration",
    size: int | tuple[int, int] | None = None,
    mean: float | tuple[float, ...] | None = None,
    std: float | tuple[float, ...] | None = None,
    crop: float | None = None,
    resample: str = "bilinear",
    limit: int | None = None,
) -> Source:
    """The samples that `spec` names, read lazily.

    x, y: arrays of an .npz.  part: "calibration" or "evaluation", for their default names.
    size: side of square images, or (height, width).  mean, std: numbers, or one for each channel.
    crop: share of the shorter side, in (0, 1], 1 by default.  resample: "bilinear", "bicubic",
    "nearest", "box" or "lanczos".  limit: at most so many samples.
    Raises BadInput, with what and where, before the first sample where that can be known.
    """
    if part not in NAMES:
        raise BadInput(f"part is {part!r}; it is 'calibration' or 'evaluation'")
    if limit is not None and limit < 1:
        raise BadInput(f"limit is {limit}; give at least 1")
    scale = _scaling(mean, std)
    text = os.fspath(spec)
    path = Path(text)
    if path.is_dir():
        _refuse(text, "a folder of images", x=x, y=y)
        source = _folder(path, size, 1.0 if crop is None else crop, resample, scale)
    elif path.suffix in (".npz", ".npy") or path.is_file():
        _refuse(text, "a file of arrays", size=size, crop=crop)
        if path.suffix == ".npy":
            _refuse(text, "a single array", x=x, y=y)
            source = _npy(path, scale)
        elif path.suffix == ".npz":
            source = _npz(path, x, y, part, scale)
        else:
            raise BadInput(
                f"{text} is neither .npz nor .npy; give one of these, a folder of images, or "
                "module:function"
            )
    elif re.fullmatch(r"\w+(\.\w+)*:\w+", text):
        _refuse(text, "a function", x=x, y=y, size=size, crop=crop)
        source = _function(text, scale)
    else:
        raise BadInput(
            f"there is no file or folder {text}; check the path, or give module:function"
        )
    return source if limit is None else _limited(source, limit)


def _refuse(text: str, kind: str, **options: Any) -> None:
    for name, value in options.items():
        if value is not None:
            raise BadInput(f"{text} is {kind}, for which {name} has no meaning; leave {name} out")


def _limited(source: Source, limit: int) -> Source:
    def read() -> Iterator[Any]:
        samples = source.read()
        for _ in range(limit):
            try:
                yield next(samples)
            except StopIteration:
                return

    labels = source.read_labels
    return Source(
        source.what,
        read,
        None if source.count is None else min(limit, source.count),
        None if labels is None else lambda: labels()[:limit],
    )


def _scaling(mean: Any, std: Any) -> Callable[[np.ndarray], np.ndarray]:
    """(value - mean) / std in float32, or nothing at all."""
    if mean is None and std is None:
        return lambda values: values
    shift = np.asarray(0.0 if mean is None else mean, np.float32)
    factor = np.asarray(1.0 if std is None else std, np.float32)
    if not (np.isfinite(factor).all() and factor.all() and np.isfinite(shift).all()):
        raise BadInput(f"mean {mean} and std {std} must be finite, and std not zero")

    def scale(values: np.ndarray) -> np.ndarray:
        if values.dtype.kind not in "biuf":
            raise BadInput(f"values of type {values.dtype} cannot go through mean and std")
        return (values.astype(np.float32) - shift) / factor

    return scale


# Folders of images


def _folder(path: Path, size: Any, crop: float, resample: str, scale: Any) -> Source:
    if size is None:
        raise BadInput(
            f"{path} is a folder of images; give the size the model takes (size, --size)"
        )
    height, width = (size, size) if np.ndim(size) == 0 else tuple(size)
    if min(height, width) < 1:
        raise BadInput(f"size is {size}; give at least 1")
    if not 0 < crop <= 1:
        raise BadInput(f"crop is {crop}; it is a share of the shorter side, above 0 and up to 1")
    if resample not in RESAMPLING:
        raise BadInput(f"resample is {resample!r}; known are {', '.join(RESAMPLING)}")
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGES and p.is_file())
    if not files:
        raise BadInput(f"{path} holds no images ({', '.join(sorted(IMAGES))}); check the folder")

    def read() -> Iterator[np.ndarray]:
        for file in files:
            yield scale(image(file, height, width, crop, resample))

    return Source(str(path), read, len(files))


def image(
    file: str | os.PathLike[str],
    height: int,
    width: int,
    crop: float = 1.0,
    resample: str = "bilinear",
) -> np.ndarray:
    """(1, height, width, 3) uint8 RGB: the central square of `crop` times the shorter side,
    resized with Pillow's anti-aliased `resample`. Raises BadInput for a file that is no image."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings(), Image.open(file) as opened:
            warnings.simplefilter("ignore")  # Pillow's own, of large pictures and odd metadata
            picture = opened.convert("RGB")
    except UnidentifiedImageError:
        raise BadInput(
            f"{file} cannot be read as an image (Pillow knows no such kind); remove it"
        ) from None
    except Exception as error:  # its decoders raise whatever comes, of damaged files
        raise BadInput(f"{file} cannot be read as an image ({_why(error)}); remove it") from None
    side = crop * min(picture.size)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    picture = picture.resize(
        (width, height),
        Image.Resampling[resample.upper()],
        box=(left, top, left + side, top + side),
    )
    return np.asarray(picture)[None]


# Arrays


def _npy(path: Path, scale: Any) -> Source:
    try:
        with builtins.open(path, "rb") as stream:
            _read_header(str(path), stream)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's own, of what the header holds as text
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGE as error:
        raise BadInput(
            f"{path} cannot be read ({_why(error)}); give a file that numpy.save wrote"
        ) from None
    if not array.ndim:
        raise BadInput(f"{path} holds a single number; the first axis must count the samples")

    def read() -> Iterator[np.ndarray]:
        rows = iter(array)
        while True:
            try:
                row = next(rows, None)
            except SystemError:  # of text
                raise BadInput(f"{path} holds text that is not Unicode; mend the file") from None
            if row is None:
                return
            yield scale(np.asarray(row))

    return Source(str(path), read, len(array))


def _npz(path: Path, x: str | None, y: str | None, part: str, scale: Any) -> Source:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n[:-4] for n in archive.namelist() if n.endswith(".npy")]
    except DAMAGE as error:
        raise BadInput(
            f"{path} cannot be read ({_why(error)}); give a file that numpy.savez wrote"
        ) from None
    known = short(", ".join(names)) or "nothing"

    def pick(asked: str | None, tried: tuple[str, ...], option: str) -> list[str]:
        if asked is not None:
            wanted = [n.strip() for n in asked.split(",")]
            for name in wanted:
                if name not in names:
                    raise BadInput(f"{path} has no array {name!r}; it has {known}")
            return wanted
        found = [n for n in tried if n in names][:1]
        if not found and tried and option == "x":
            raise BadInput(
                f"{path} has no array {' or '.join(tried)}; it has {known}: name one with x (--x), "
                "or those of several inputs in order, as a,b"
            )
        return found

    inputs = pick(x, NAMES[part], "x")
    default_y = tuple("y" + inputs[0][1:] for _ in (0,) if inputs[0].startswith("x"))
    labels = pick(y, default_y if x is None else (), "y")
    lengths = [_header(path, n) for n in inputs + labels]
    if any(not shape for shape in lengths):
        raise BadInput(f"{path}: an array of samples must have a first axis that counts them")
    if len({shape[0] for shape in lengths}) > 1:
        sizes = ", ".join(f"{n} {shape[0]}" for n, shape in zip(inputs + labels, lengths))
        raise BadInput(f"{path}: the arrays have different lengths ({sizes}); they must agree")

    def read() -> Iterator[Any]:
        rows = zip(*(_rows(path, n) for n in inputs))
        if len(inputs) == 1:
            return (scale(row[0]) for row in rows)
        return (tuple(scale(v) for v in row) for row in rows)

    def read_labels() -> np.ndarray:
        with _member(path, labels[0]), np.load(path, allow_pickle=False) as archive:
            return np.asarray(archive[labels[0]])

    return Source(str(path), read, lengths[0][0], read_labels if labels else None)


def _read_header(where: str, stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, Fortran order and dtype of an array, the stream left at its data."""
    version = np.lib.format.read_magic(stream)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if version == (1, 0):
                found = np.lib.format.read_array_header_1_0(stream)
            else:
                found = np.lib.format.read_array_header_2_0(stream)
    except (TypeError, LookupError) as error:  # NumPy looks into what it has not checked
        raise ValueError(f"its header describes no array: {error}") from None
    shape, _, dtype = found
    if any(type(n) is not int for n in shape):
        raise ValueError(f"there is no array of shape {shape}")
    if dtype.hasobject:
        raise BadInput(f"{where} holds Python objects, which are not read; store plain numbers")
    if min(shape, default=0) < 0 or max(shape, default=0) > sys.maxsize or not dtype.itemsize:
        raise ValueError(f"there is no array of type {dtype} and shape {shape}")
    return found


@contextmanager
def _member(path: Path, name: str) -> Iterator[Any]:
    """An array of an .npz as a stream; whatever is wrong with it while it is read is BadInput."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name + ".npy") as stream:
            yield stream
    except DAMAGE as error:
        raise BadInput(
            f"{path}: array {name!r} is damaged ({_why(error)}); write the file again"
        ) from None


def _why(error: BaseException) -> str:
    """The system's word for an OSError, else what the error says, on one line."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return short(" ".join(said.split())) or type(error).__name__


def _header(path: Path, name: str) -> tuple[int, ...]:
    with _member(path, name) as stream:
        return _read_header(f"{path}: array {name!r}", stream)[0]


def _rows(path: Path, name: str) -> Iterator[np.ndarray]:
    """The rows of an array of an .npz, one at a time as they are unpacked."""
    with _member(path, name) as stream:
        shape, fortran, dtype = _read_header(f"{path}: array {name!r}", stream)
        if fortran and len(shape) > 1:
            # Stored by column, so that the first row needs the whole array.
            with np.load(path, allow_pickle=False) as whole:
                yield from whole[name]
            return
        size = math.prod(shape[1:]) * dtype.itemsize
        for number in range(shape[0]):
            data = stream.read(size)
            if len(data) != size:
                raise BadInput(f"{path}: array {name!r} ends at row {number}; write the file again")
            yield np.frombuffer(data, dtype).reshape(shape[1:])


# Functions


def _function(text: str, scale: Any) -> Source:
    try:
        found = modules.function(text)
    except (Exception, SystemExit) as error:
        raise _failed(text, error) from error

    def scaled(sample: Any) -> Any:
        if isinstance(sample, dict):
            return {k: scaled(v) for k, v in sample.items()}
        if isinstance(sample, (tuple, list)):
            return type(sample)(scaled(v) for v in sample)
        return sample if isinstance(sample, str) else scale(np.asarray(sample))

    def read() -> Iterator[Any]:
        try:
            samples: Iterable[Any] = found() if callable(found) else found
            if isinstance(samples, (str, bytes)) or not isinstance(samples, Iterable):
                raise BadInput(f"{text} gave a {type(samples).__name__}; it must yield samples")
            samples = iter(samples)
        except (Exception, SystemExit) as error:
            raise _failed(text, error) from error
        while True:
            try:
                sample = next(samples)
            except StopIteration:
                return
            except (Exception, SystemExit) as error:
                raise _failed(text, error) from error
            yield scaled(sample)

    return Source(text, read)


def _failed(text: str, error: BaseException) -> BadInput:
    """What the user's own code raised, with the place in it."""
    if isinstance(error, BadInput):
        return error
    return BadInput(f"{text} failed with {failure(error)}; mend that code")
