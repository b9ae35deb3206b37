"""Files of samples, .npy and .npz: samples and labels that can be read, or BadInput."""

from __future__ import annotations

import io
import itertools
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

from qcore import data as sources
from qcore.errors import QcoreError
from tests.fuzz import values
from tests.fuzz.target import Broken, Target, said
from tests.fuzz.texts import folder

SAMPLES = 50  # of a file; more of the same


def attempt(data: bytes) -> str:
    place = folder() / ("x.npz" if data[:2] == b"PK" else "x.npy")
    place.unlink(missing_ok=True)  # one that is mapped is not to change
    place.write_bytes(data)
    count = 0
    try:
        source = sources.open(place)
        for sample in itertools.islice(source, SAMPLES):
            np.asarray(sample).copy()
            count += 1
        source.labels  # noqa: B018
    except QcoreError as error:
        said(error)
        return "refused" if not count else "refused inside"
    if count != min(len(source), SAMPLES):
        raise Broken(f"{count} samples of {len(source)}")
    try:
        for sample in sources.open(place, part="evaluation", mean=0.5, std=2.0, limit=2):
            np.asarray(sample)
    except QcoreError as error:
        said(error)
        return "read, not scaled"
    return "read"


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _npz(members: dict[str, bytes], packed: bool = True) -> bytes:
    stream = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


WORDS = (
    b"'descr': ", b"'fortran_order': True", b"'fortran_order': False", b"'shape': (", b"<f4", b"|O",
    b"|V0", b"<U1", b"<M8[ns]", b"[('a', '<f4')]", b"()", b"(-1, 2)", b"(0, 2)", b"(9999999999, 9)",
    b"(True,)", b"1e9", b"\x93NUMPY\1\0", b"\x93NUMPY\2\0", b"\x93NUMPY\3\0", b"x_calib.npy",
    b"y_test.npy",
)  # fmt: skip


def _header(member: bytes, rng: np.random.Generator) -> bytes:
    """The member with another word in its header, whose length is kept true."""
    end = member.find(b"\n") + 1
    if member[:6] != b"\x93NUMPY" or end < 12:
        return values.text(member, rng)
    text = bytearray(member[10 : end - 1].rstrip())
    word = WORDS[int(rng.integers(len(WORDS)))]
    at = int(rng.integers(len(text) + 1))
    marks = [i for i in range(len(text)) if text[i : i + 1] in b"'(:,"]
    if marks and rng.integers(4):
        at = marks[int(rng.integers(len(marks)))]
    if rng.integers(3):
        text[at : at + int(rng.integers(0, 16))] = word
    else:
        text[at : at + 1] = str(10 ** int(rng.integers(25))).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return member[:8] + len(text).to_bytes(2, "little") + bytes(text) + member[end:]


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    if data[:2] != b"PK":
        return _header(data, rng) if rng.integers(2) else values.text(data, rng)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {n: archive.read(n)[: 1 << 16] for n in archive.namelist()}
    except Exception:  # whatever zipfile raises for what is no archive any more
        return values.text(data, rng)
    if not members or not rng.integers(4):
        return values.text(data, rng)
    name = list(members)[int(rng.integers(len(members)))]
    action = int(rng.integers(6))
    if action < 3:
        members[name] = _header(members[name], rng)
    elif action == 3:
        members[name] = values.text(members[name], rng)
    elif action == 4:
        other = ("x.npy", "y.npy", "x_calib.npy", "x_test.npy", "y_test.npy", "x.txt", "../x.npy")
        members[other[int(rng.integers(len(other)))]] = members[name]
    else:
        del members[name]
    made = _npz(members, bool(rng.integers(2)))
    if not rng.integers(8):  # another check sum
        crc = zlib.crc32(members.get(name, b"")).to_bytes(4, "little")
        made = made.replace(crc, b"\0\0\0\0")
    return made


def seeds() -> Iterator[bytes]:
    x = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    wide = np.asfortranarray(x)
    text = np.array(["a", "b", "c", "d"])
    for array in (x, wide, x[:0], x.astype(np.uint8), x[..., 0] > 3, x.astype(np.complex64), text):
        yield _npy(array)
        yield _npz({"x.npy": _npy(array), "y.npy": _npy(np.arange(len(array)))})
    yield _npz({"x_calib.npy": _npy(x), "x_test.npy": _npy(wide), "y_test.npy": _npy(text)}, False)


TARGET = Target(attempt, seeds, mutate, WORDS)
