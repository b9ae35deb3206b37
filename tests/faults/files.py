"""Files with wrong content: recipes, calibrations, arrays, images, functions; and bad samples."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.fault import Fault, Make

QUANTIZE = "qcore quantize model.tflite -o out.tflite"
WITH_RANGES = f"{QUANTIZE} --calibration ranges.json"
CALIBRATE = "qcore calibrate model.tflite -o out.json"
GOOD = np.zeros((3, 32, 32, 1), np.float32)


class Trap:
    """Unpickling one makes a file; nothing of ours is to unpickle it."""

    def __reduce__(self) -> Any:
        return open, ("trap.txt", "w")


def text(name: str, content: str | bytes) -> Make:
    data = content.encode() if isinstance(content, str) else content
    return lambda place: (place / name).write_bytes(data) and None


def recipe(what: str, content: str | bytes, says: str, name: str = "r.toml") -> Fault:
    return Fault(f"recipe: {what}", f"{WITH_RANGES} -r {name}", says, text(name, content))


def rule(what: str, content: str, says: str) -> Fault:
    return recipe(what, f"[[rule]]\n{content}\n", "r.toml: rule 0 of recipe 'r'" + says)


RECIPES = (
    recipe("empty file", "", "r.toml holds nothing; write rules into it"),
    recipe("not UTF-8", b'name = "\xe9"', "r.toml is not TOML: byte 8 is not UTF-8; mend the file"),
    recipe("binary", b"\0" * 64, "r.toml is not TOML: ...; mend the file"),
    recipe(
        "nested without end", "[" * 100_000,
        "r.json is not JSON: it is nested too deeply; mend the file", "r.json",
    ),
    recipe(
        "nested without end, TOML", "a = " + "[" * 100_000,
        "r.toml is not TOML: it is nested too deeply; mend the file",
    ),
    recipe(
        "a number of 5000 digits", '{"name": ' + "9" * 5000 + "}",
        "r.json is not JSON: a number has too many digits; mend the file", "r.json",
    ),
    recipe(
        "no table", "3", "r.json: recipe 'r' is a int; give a table of fields", "r.json"
    ),
    recipe("a name that is none", "name = 3", "r.toml: a recipe's name is 3; give a text"),
    recipe(
        "rules that are no list", "rule = 3",
        "r.toml: recipe 'r' has a `rule` that is no list of tables; use [[rule]]",
    ),
    rule("unknown field", "colour = 3", " has an unknown field; known are: ..."),
    rule("operator of a wrong type", "operator = 3", ": a rule's operator is 3; give a text"),
    rule(
        "a size below zero", "min_elements = -1",
        ": a rule's min_elements is -1; give a whole number",
    ),
    rule("an infinite size", "min_elements = inf", ": ... is inf; give a whole number"),
    rule("code for a scheme", 'scheme = "os:system"', ": scheme 'os:system' is unknown; ..."),
    rule("a list for a scheme", "scheme = [1]", ": scheme [1] is unknown; ..."),
    rule(
        "a broken pattern", 'name = "re:("\nmode = "float"',
        ": the name pattern 're:(' is not a regular expression: ...",
    ),
    recipe(
        "a switch that is none", 'deviations = {zero_scale = "no"}',
        "r.toml: deviation 'zero_scale' is 'no'; give true or false",
    ),
    recipe(
        "LiteRT's, with a wrong type",
        '[{"regex": 3, "operation": "*", "algorithm_key": "no_quantize"}]',
        "r.json: entry 0 of LiteRT recipe 'r' has the regex 3; give a text", "r.json",
    ),
    Fault(
        "recipe: a folder", f"{WITH_RANGES} -r r.toml", "r.toml: is a folder; give a file",
        lambda place: (place / "r.toml").mkdir(),
    ),
)  # fmt: skip


def ranges(what: str, change: Callable[[Any], Any], says: str, damaged: bool = True) -> Fault:
    """A calibration file with one thing changed; `change` edits it, or returns a text instead."""

    def make(place: Path) -> None:
        data = json.loads((place / "ranges.json").read_text())
        new = change(data)
        (place / "ranges.json").write_text(new if isinstance(new, str) else json.dumps(data))

    if damaged:
        says = f"ranges.json: the calibration is damaged ({says}); calibrate again"
    return Fault(f"calibration: {what}", WITH_RANGES, says, make)


def entry(what: str, field: str, value: Any, says: str, damaged: bool = True) -> Fault:
    says = f"entry 3 of its tensors: {says}" if damaged else says
    return ranges(what, lambda d: d["tensors"][3].update({field: value}), says, damaged)


CALIBRATIONS = (
    ranges("cut", lambda d: json.dumps(d)[:200],
           "ranges.json is no calibration (...); give a file that `save` wrote", damaged=False),
    ranges("nested without end", lambda d: "[" * 100_000, "ranges.json is no calibration (it is "
           "nested too deeply); give a file that `save` wrote", damaged=False),
    ranges("tensors that are no list", lambda d: d.update(tensors={}), "its tensors are no list"),
    ranges("infinitely many samples", lambda d: d.update(samples=float("inf")), "inf is no count"),
    ranges("notes that are no text", lambda d: d.update(notes=[3]),
           "its notes are no list of texts"),
    ranges("code for an observer", lambda d: d.update(observer="os:system"),
           "ranges.json: observer 'os:system' is unknown; known are: ...", damaged=False),
    ranges("a tensor twice", lambda d: d["tensors"].append(d["tensors"][3]),
           "entry 20 of its tensors: tensor 32 comes twice"),
    ranges("a tensor without a range", lambda d: d["tensors"][3].pop("lo"),
           "entry 3 of its tensors: no 'lo'"),
    entry("a range that is a word", "lo", "low", "could not convert string to float: 'low'"),
    entry("a count below zero", "count", -5, "-5 is no count"),
    entry("a place that is none", "index", -1, "-1 is no count"),
    entry("a name of another model", "name", "other", "this calibration is of another model: the "
          "model to quantize has no tensor 'other'; calibrate the model itself", damaged=False),
    entry("NaN for a range", "lo", float("nan"), "tensor ... has the range [nan, ...], which no "
          "scale can stand for; look for NaN or infinity in the model or the samples",
          damaged=False),
    entry("a range upside down", "lo", 1e9, "tensor ... has the range [1000000000.0, ...], which "
          "no scale can stand for; look for NaN or infinity in the model or the samples",
          damaged=False),
    ranges(
        "a histogram of another range",
        lambda d: (d.update(observer="histogram"), d["tensors"][0].update(
            bins=2048, exponent=10, first=7, counts=[1])),
        "entry 0 of its tensors: the bins of the histogram are not those of lo and hi",
    ),
    ranges(
        "a moving average without its head",
        lambda d: (d.update(observer="moving_average"), d["tensors"][0].update(
            smoothing=0.95, head=[1], folded=0, samples="")),
        "entry 0 of its tensors: not enough values to unpack (expected 2, got 1)",
    ),
)  # fmt: skip


def data(what: str, name: str, content: bytes, says: str, options: str = "") -> Fault:
    return Fault(f"data: {what}", f"{CALIBRATE} --data {name}{options}", says, text(name, content))


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=array.dtype.hasobject)
    return stream.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def forged(header: str) -> bytes:
    """An .npy file with this header and 4 kB of zeros."""
    return (
        b"\x93NUMPY\x01\x00"
        + struct.pack("<H", len(header) + 1)
        + header.encode()
        + b"\n"
        + (bytes(4096))
    )


def member(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def flipped(content: bytes, at: int, value: int | None = None) -> bytes:
    out = bytearray(content)
    out[at] = out[at] ^ 0xFF if value is None else value
    return bytes(out)


def shape(text: str, kind: str = "<f4") -> bytes:
    return forged(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {text}}}")


SAVE = "give a file that numpy.save wrote"
AGAIN = "write the file again"
RANDOM = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1), np.uint8)  # that does not shrink
ARCHIVE = npz(x=RANDOM)
DIRECTORY = ARCHIVE.rfind(b"PK\1\2")
ARRAYS = (
    data("pickled objects in .npy", "x.npy", npy(np.array([Trap()], object)),
         "x.npy holds Python objects, which are not read; store plain numbers"),
    data("pickled objects in .npz", "x.npz", member("x.npy", npy(np.array([Trap()], object))),
         "x.npz: array 'x' holds Python objects, which are not read; store plain numbers"),
    data("a pickle named .npy", "x.npy", pickle.dumps(Trap()),
         f"x.npy cannot be read (...); {SAVE}"),
    data("code for a header", "x.npy", forged("open('trap.txt', 'w')"),
         f"x.npy cannot be read (malformed node or string ...); {SAVE}"),
    data("a header of brackets", "x.npy", forged("(" * 5000),
         f"x.npy cannot be read (...); {SAVE}"),
    data("an empty file", "x.npy", b"", f"x.npy cannot be read (...); {SAVE}"),
    data("a cut file", "x.npy", npy(GOOD)[:5000], "x.npy cannot be read (mmap length is greater "
         f"than file size); {SAVE}"),
    data("a shape below zero", "x.npy", shape("(-3, 32, 32, 1)"), "x.npy cannot be read (there is "
         f"no array of type float32 and shape (-3, 32, 32, 1)); {SAVE}"),
    data("a shape beyond memory", "x.npz", member("x.npy", shape("(10000000000, 32, 32, 1)")),
         f"x.npz: array 'x' ends at row 1; {AGAIN}"),
    data("a shape beyond integers", "x.npz", member("x.npy", shape(f"({10**22}, 32, 32, 1)")),
         "x.npz: array 'x' is damaged (there is no array of type float32 and shape "
         f"({10**22}, 32, 32, 1)); {AGAIN}"),
    data("too many dimensions", "x.npz", member("x.npy", shape("(" + "1, " * 70 + ")")),
         f"x.npz: array 'x' is damaged (maximum supported dimension ...); {AGAIN}"),
    data("a member that is no array", "x.npz", member("x.npy", b"junk"),
         f"x.npz: array 'x' is damaged (...); {AGAIN}"),
    data("no array in it", "x.npz", member("../../x.txt", b"junk"),
         "x.npz has no array x_calib or x; it has nothing: name one with x (--x), or those of "
         "several inputs in order, as a,b"),
    data("a flipped bit", "x.npz", flipped(member("x.npy", npy(GOOD)), 1000),
         f"x.npz: array 'x' is damaged (Bad CRC-32 for file 'x.npy'); {AGAIN}"),
    data("bad compression", "x.npz", flipped(ARCHIVE, 60),
         f"x.npz: array 'x' is damaged (Error -3 while decompressing data: ...); {AGAIN}"),
    data("a password", "x.npz",
         flipped(flipped(ARCHIVE, 6, 1), DIRECTORY + 8, 1),
         f"x.npz: array 'x' is damaged (File 'x.npy' is encrypted, ...); {AGAIN}"),
    data("unknown compression", "x.npz", flipped(ARCHIVE, DIRECTORY + 10, 99),
         f"x.npz: array 'x' is damaged (That compression method is not supported); {AGAIN}"),
    data("no samples", "x.npy", npy(GOOD[:0]), "there is not a single sample; give at least one"),
)  # fmt: skip


def image(what: str, content: bytes, says: str) -> Fault:
    def make(place: Path) -> None:
        (place / "images").mkdir()
        (place / "images" / "a.png").write_bytes(content)

    return Fault(f"image: {what}", f"{CALIBRATE} --data images", f"images/a.png {says}", make)


def png(size: tuple[int, int]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("1", size).save(stream, "PNG")
    return stream.getvalue()


UNKNOWN = "cannot be read as an image (Pillow knows no such kind); remove it"


def noise() -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(RANDOM[0, :, :, 0]).save(stream, "PNG")
    return stream.getvalue()


IMAGES = (
    image("an empty file", b"", UNKNOWN),
    image("a text", b"a picture of a cat", UNKNOWN),
    image("a cut one", noise()[:600], "cannot be read as an image (...); remove it"),
    image("a bomb of 200 million pixels", png((20_000, 10_000)), "cannot be read as an image (Image"
          " size (200000000 pixels) exceeds limit ...); remove it"),
    Fault("image: colours for a grey model", f"{CALIBRATE} --data images",
          "sample 0: input 'picture' takes shape (?, 32, 32, 1) and got (1, 32, 32, 3); only the "
          "leading dimension and those marked ? may differ",
          lambda place: (place / "images").mkdir()
          or text("images/a.png", png((40, 40)))(place)),
)  # fmt: skip


def function(what: str, body: str, says: str, spec: str = "mine:samples") -> Fault:
    """`body`: of the function `samples`, or the module where it begins without a blank."""
    code = body if body[:1] != " " else f"import numpy as np\ndef samples():\n{body}\n"
    return Fault(f"function: {what}", f"{CALIBRATE} --data {spec}", says, text("mine.py", code))


def stream(what: str, third: str, says: str) -> Fault:
    """Two good samples and a bad one."""
    body = f" for i in range(2): yield np.zeros((1, 32, 32, 1), np.float32)\n yield {third}"
    return function(what, body, says)


FUNCTIONS = (
    function("no such module", " yield 3", "nobody:samples: module 'nobody' cannot be imported "
             "(No module named 'nobody')", "nobody:samples"),
    function("no such function", " yield 3", "mine:absent: module 'mine' has no 'absent'; check "
             "the name", "mine:absent"),
    function("neither module nor function", " yield 3", "there is no file or folder ..x:f; check "
             "the path, or give module:function", "..x:f"),
    function("a syntax error", "def samples(:", "mine:samples failed with SyntaxError: ... "
             "(...mine.py, line 1); mend that code"),
    function("it raises", " yield np.zeros((1, 32, 32, 1), np.float32)\n yield 1 / 0",
             "mine:samples failed with ZeroDivisionError: division by zero (...mine.py, line 4); "
             "mend that code"),
    function("it leaves", " import sys\n sys.exit(0)",
             "mine:samples failed with SystemExit: 0 (...mine.py, line 4); mend that code"),
    function("it takes arguments", "def samples(n):\n yield 3\n", "mine:samples failed with "
             "TypeError: ... (...); mend that code"),
    function("it gives a word", " return 'abc'", "mine:samples gave a str; it must yield samples"),
)  # fmt: skip
SAMPLES = (
    stream("a shape in mid-stream", "np.zeros((1, 31, 32, 1), np.float32)",
           "sample 2: input 'picture' takes shape (?, 32, 32, 1) and got (1, 31, 32, 1); only the "
           "leading dimension and those marked ? may differ"),
    stream("a type in mid-stream", "np.zeros((1, 32, 32, 1), np.complex64)",
           "sample 2: input 'picture' takes float32 and got complex64; convert it the way the "
           "model was trained on (nothing is cast here)"),
    stream("a name in mid-stream", "{'image': np.zeros((1, 32, 32, 1))}",
           "sample 2: 'image' is no input of signature 'serving_default'; it takes 'picture'"),
    stream("a signature in mid-stream", "('train', np.zeros((1, 32, 32, 1)))",
           "sample 2: the model has no signature 'train'; it has 'serving_default'"),
    stream("two arrays in mid-stream", "(np.zeros(1), np.zeros(1))",
           "sample 2 has 2 arrays and signature 'serving_default' takes 1 ('picture')"),
    stream("nothing in mid-stream", "None",
           "sample 2: input 'picture' takes float32 and got object; give numbers"),
    stream("NaN in mid-stream", "np.full((1, 32, 32, 1), np.nan, np.float32)",
           "sample 2: tensor 'serving_default_picture:0' (an input) holds NaN in 1024 of 1024 "
           "values; mend the sample or the model, or leave such values out with nonfinite='skip'"),
    stream("a value beyond float32", "np.full((1, 32, 32, 1), 1e300)",
           "sample 2: input 'picture' takes float32 and got float64 with a value beyond its range; "
           "scale the sample"),
    stream("activations beyond float32", "np.full((1, 32, 32, 1), 3e38, np.float32)",
           "sample 2: tensor ... (written by CONV_2D 0) holds infinity in ... values; mend the "
           "sample or the model, or leave such values out with nonfinite='skip'"),
)  # fmt: skip
