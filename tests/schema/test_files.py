"""Writing to files: one step, little memory, archives that stay readable, models past 2 GB."""

from __future__ import annotations

import errno
import io
import os
import signal
import stat
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers

import tflite_schema as ts
from tests.schema.samples import base
from tests.schema.test_round_trip import compared
from tflite_schema import trailer, writer

ROOT = Path(__file__).resolve().parents[2]


def constant_model(*buffers: Any, dtype: str = "INT8") -> ts.Model:
    """x + a + b + ... for constants of one length, which the interpreter runs."""
    count = buffers[0].nbytes if not isinstance(buffers[0], bytes) else len(buffers[0])
    quantization = ts.Quantization(scale=[1], zero_point=[0])
    tensors = [ts.Tensor((1, 4), ts.TensorType.FLOAT32, name="x")]
    operators = []
    held = [ts.Buffer()]
    code = ts.OperatorCode.of("GATHER")
    index = ts.Tensor((1,), ts.TensorType.INT32, 1, "i")
    tensors = [index.replace(buffer=0)]
    outputs = []
    for buffer in buffers:
        held.append(ts.Buffer(buffer))
        tensors.append(
            ts.Tensor((count,), ts.TensorType[dtype], len(held) - 1, f"c{len(held)}", quantization)
        )
        tensors.append(ts.Tensor((1,), ts.TensorType[dtype], 0, f"y{len(held)}", quantization))
        outputs.append(len(tensors) - 1)
        operators.append(
            ts.Operator(code, (len(tensors) - 2, 0), (outputs[-1],), ts.Options("GatherOptions"))
        )
    graph = ts.SubGraph(tuple(tensors), (0,), tuple(outputs), tuple(operators), "main")
    return ts.Model(subgraphs=(graph,), buffers=tuple(held))


def archive(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name + ".txt", content)
    return stream.getvalue()


def appended_to(data: bytes, absolute: bool, zip64: bool = False) -> bytes:
    """A file with an archive appended, its positions counted from the file's start or its own."""
    if not absolute:
        return data + archive(labels=b"a\nb\n", more=b"c" * 999)
    stream = io.BytesIO(data)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as made:
        if zip64:
            for name in ("labels.txt", "more.txt"):
                info = zipfile.ZipInfo(name)
                with made.open(info, "w", force_zip64=True) as file:
                    file.write(b"a\nb\n" if name == "labels.txt" else b"c" * 999)
        else:
            made.writestr("labels.txt", b"a\nb\n")
            made.writestr("more.txt", b"c" * 999)
    return stream.getvalue()


@pytest.mark.parametrize("outside", [None, True])
@pytest.mark.parametrize("absolute", [True, False])
def test_an_appended_archive_stays_readable(
    tmp_path: Path, absolute: bool, outside: bool | None
) -> None:
    data = appended_to(ts.to_bytes(base()), absolute)
    model = ts.read(data)
    changed = model.replace(
        description="longer " * 100, buffers=(*model.buffers, ts.Buffer(bytes(range(99))))
    )
    path = tmp_path / "m.tflite"
    ts.write(changed, path, outside=outside)
    assert ts.read(path) == changed
    with zipfile.ZipFile(path) as made:
        assert made.testzip() is None
        assert made.read("labels.txt") == b"a\nb\n"
        assert made.read("more.txt") == b"c" * 999
        assert [i.header_offset > len(data) // 2 for i in made.infolist()] == [True, True]
    done = subprocess.run(["unzip", "-t", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr  # 1 would be a warning
    # However it counted before, it is the same archive to us.
    assert (
        ts.read(appended_to(ts.to_bytes(base()), not absolute)).appended.size == model.appended.size
    )
    assert ts.to_bytes(ts.read(path)) == path.read_bytes()


def zip64_end(data: bytes, start: int) -> bytes:
    """The archive at `start` with zip64 end records, and its first entry's position in an extra."""
    end = data.rindex(b"PK\5\6")
    count, size, offset = struct.unpack_from("<HII", data, end + 10)
    directory = bytearray(data[offset : offset + size])
    name, extra = struct.unpack_from("<HH", directory, 28)
    header = struct.unpack_from("<I", directory, 42)[0]
    struct.pack_into("<H", directory, 30, extra + 12)
    struct.pack_into("<I", directory, 42, 0xFFFFFFFF)
    at = 46 + name + extra
    directory[at:at] = struct.pack("<HHQ", 1, 8, header)
    end64 = struct.pack(
        "<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), offset
    )
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, offset + len(directory), 1)
    last = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(directory), 0xFFFFFFFF, 0)
    assert start <= offset
    return data[:offset] + bytes(directory) + end64 + locator + last


def test_a_zip64_archive_moves_too(tmp_path: Path) -> None:
    plain = ts.to_bytes(base())
    data = zip64_end(appended_to(plain, True), len(plain))
    with zipfile.ZipFile(io.BytesIO(data)) as made:
        assert made.read("labels.txt") == b"a\nb\n"
    model = ts.read(data)
    path = tmp_path / "m.tflite"
    ts.write(model.replace(description="longer " * 100), path)
    with zipfile.ZipFile(path) as made:
        assert made.testzip() is None
        assert made.read("labels.txt") == b"a\nb\n"
    done = subprocess.run(["unzip", "-t", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ts.read(path).appended.tobytes() == model.appended.tobytes()


@pytest.mark.parametrize(
    "tail",
    [
        b"x",
        b"not an archive" * 9,
        bytes(200),
        b"PK\5\6" + bytes(18),
        b"PK\5\6" + b"\xff" * 18,
        b"PK\1\2" * 30 + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, 120, 0, 0),
        archive(a=b"1")[:-7],
        b"PK\6\6" + bytes(8) + b"PK\6\7" + bytes(16) + b"PK\5\6" + bytes(18),
    ],
    ids=["byte", "text", "zeros", "empty end", "wild end", "wild entries", "cut", "short zip64"],
)
def test_other_appended_bytes_are_kept(tail: bytes) -> None:
    plain = ts.to_bytes(base())
    model = ts.read(plain + tail)
    # An archive of no files still names its own place in the file.
    assert model.appended.tobytes() == tail or tail.startswith(b"PK\5\6\0")
    data = ts.to_bytes(model.replace(description="another length"))
    assert data.endswith(tail) or tail.startswith(b"PK\5\6\0")
    again = ts.read(data)
    assert again == model.replace(description="another length")
    assert ts.to_bytes(again) == data


def test_what_is_appended_is_the_same_when_read_again() -> None:
    """However many zeros: few are padding and stay so, many are kept and stay so."""
    plain = ts.to_bytes(base())
    kept = set()
    for tail in (bytes(n) for n in range(140)):
        model = ts.read(plain + tail)
        assert ts.read(ts.to_bytes(model)) == model, len(tail)
        kept.add(model.appended is None)
    assert kept == {True, False}


def test_padding_is_not_appended() -> None:
    plain = ts.to_bytes(base())
    assert ts.read(plain).appended is None
    assert ts.read(plain + bytes(30)).appended is None
    assert ts.read(plain.rstrip(b"\0") + bytes(8)).appended is None
    assert trailer.boundary(32) == 48
    assert len(plain) % 16 == 0


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    ts.write(base(), path)
    os.chmod(path, 0o640)
    link = tmp_path / "link.tflite"
    link.symlink_to(path)
    model = ts.read(path)  # mapped, and written over
    ts.write(model.replace(description="new"), link)
    assert link.is_symlink()
    assert ts.read(path).description == "new"
    assert model.description == "base"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.tflite", "m.tflite"]


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        ts.write(base(), tmp_path / "m.tflite")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "m.tflite").stat().st_mode) == 0o640


def test_streams_and_devices_are_written_to(tmp_path: Path) -> None:
    stream = io.BytesIO()
    ts.write(base(), stream)
    assert stream.getvalue() == ts.to_bytes(base())
    ts.write(base(), "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), Interrupted()])
def test_what_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "m.tflite"
    ts.write(base(), path)
    before = path.read_bytes()

    def chunks() -> Any:
        yield np.zeros(10, np.uint8)
        raise error

    model = constant_model(ts.Deferred(20, chunks))
    expected = ts.WriteFailed if isinstance(error, OSError) else Interrupted
    with pytest.raises(expected) as caught:
        ts.write(model, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.tflite"]
    if isinstance(error, OSError):
        assert str(caught.value) == (
            f"cannot write {str(path)!r}: No space left on device;"
            " the old file, if any, is unchanged."
        )


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ts.WriteFailed, match=r"cannot write '.*none/m.tflite': No such file"):
        ts.write(base(), tmp_path / "none" / "m.tflite")
    with pytest.raises(OSError, match="No such file"):
        ts.read(tmp_path / "none.tflite")


@pytest.mark.parametrize(("nbytes", "sizes"), [(20, (10,)), (20, (10, 11)), (20, ()), (0, (1,))])
def test_a_deferred_buffer_of_another_size_is_refused(
    tmp_path: Path, nbytes: int, sizes: tuple[int, ...]
) -> None:
    model = base(
        buffers=(
            ts.Buffer(),
            ts.Buffer(ts.Deferred(nbytes, lambda: [np.zeros(s, np.uint8) for s in sizes])),
        )
    )
    model = model.replace(subgraphs=(ts.SubGraph(),))
    with pytest.raises(
        ts.InvalidModel, match=rf"chunks\(\) gave {sum(sizes)}.* bytes, nbytes says {nbytes}"
    ):
        ts.write(model, tmp_path / "m.tflite")
    assert list(tmp_path.iterdir()) == []


def test_deferred_buffers_are_the_bytes_they_give() -> None:
    values = np.arange(50000, dtype=np.float32)
    calls = []

    def chunks() -> Any:
        calls.append(1)
        for start in range(0, values.size, 7000):
            yield values[start : start + 7000]

    model = base(
        buffers=(
            ts.Buffer(),
            ts.Buffer(ts.Deferred(values.nbytes, chunks)),
            ts.Buffer(),
            ts.Buffer(),
        )
    )
    plain = base(buffers=(ts.Buffer(), ts.Buffer(values), ts.Buffer(), ts.Buffer()))
    assert ts.to_bytes(model) == ts.to_bytes(plain)
    assert len(calls) == 1
    empty = base(buffers=(ts.Buffer(), ts.Buffer(ts.Deferred(0, tuple)), ts.Buffer(), ts.Buffer()))
    assert ts.read(ts.to_bytes(empty)).buffers[1] == ts.Buffer(b"")


KILLED = """
import sys, time
import numpy as np
import tflite_schema as ts

def chunks():
    for i in range(1000):
        yield np.full(1000, i % 256, np.uint8)
        print(i, flush=True)
        time.sleep(0.002)

graph = ts.SubGraph((ts.Tensor((1000000,), ts.TensorType.INT8, 1),))
model = ts.Model(subgraphs=(graph,), buffers=(ts.Buffer(), ts.Buffer(ts.Deferred(1000000, chunks))))
ts.write(model, sys.argv[1])
print("done", flush=True)
"""


@pytest.mark.parametrize("after", ["3", "700", "done"])
def test_a_killed_process_leaves_the_old_file_or_the_new(tmp_path: Path, after: str) -> None:
    path = tmp_path / "m.tflite"
    ts.write(base(), path)
    before = path.read_bytes()
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    seen = ""
    for line in child.stdout:
        seen = line.strip()
        if seen == after:
            break
    assert seen == after
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    if after == "done":
        assert ts.read(path).buffers[1].nbytes == 1_000_000
    else:
        assert child.returncode == -signal.SIGKILL
        assert path.read_bytes() == before


MEMORY = """
import sys
import numpy as np
import tflite_schema as ts

count, size = int(sys.argv[2]), 32 << 20
if sys.argv[1] == "make":
    def chunks():
        for i in range(0, size, 1 << 20):
            yield np.full(1 << 20, i >> 20, np.uint8)
    held = (ts.Buffer(), *(ts.Buffer(ts.Deferred(size, chunks)) for _ in range(count)))
    graph = ts.SubGraph(tuple(ts.Tensor((size,), ts.TensorType.INT8, i + 1) for i in range(count)))
    ts.write(ts.Model(subgraphs=(graph,), buffers=held), sys.argv[3])
elif sys.argv[1] == "copy":
    ts.write(ts.read(sys.argv[3]), sys.argv[4])
elif sys.argv[1] == "sum":
    model = ts.read(sys.argv[3])
    total = 0
    for index in range(count):
        array = ts.array(model, 0, index)
        for start in range(0, array.size, 1 << 22):
            piece = array[start : start + (1 << 22)]
            total += int(piece.sum(dtype=np.int64))
            ts.release(piece)
    assert total == count * sum(range(32)) << 20, total
# ru_maxrss would start from what the parent had: it survives exec.
print(next(int(x.split()[1]) for x in open("/proc/self/status") if x.startswith("VmHWM")) // 1024)
"""


def peak_mb(*arguments: str | Path) -> int:
    """Peak memory in MB of a child that makes, copies or sums a model of 32 MB constants."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    return int(done.stdout)


def test_memory_is_near_a_chunk_not_the_model(tmp_path: Path) -> None:
    path, copy = tmp_path / "m.tflite", tmp_path / "copy.tflite"
    peaks = {"make": peak_mb("make", "8", path)}
    assert path.stat().st_size > 256 << 20
    peaks["copy"] = peak_mb("copy", "8", path, copy)
    peaks["sum"] = peak_mb("sum", "8", path)
    assert copy.stat().st_size == path.stat().st_size
    assert max(peaks.values()) < 110, peaks


def test_a_model_that_would_pass_the_limit_keeps_its_constants_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As past 2 GB, with the limit at 10 kB; metadata stays inside, where the runtime reads it."""
    monkeypatch.setattr(writer, "FLATBUFFER_LIMIT", 10_000)
    model = constant_model(np.arange(5000, dtype=np.uint8), np.arange(5000, dtype=np.uint8)[::-1])
    model = model.replace(
        buffers=(*model.buffers, ts.Buffer(b"meta")), metadata=(ts.Metadata("m", 3),)
    )
    path = tmp_path / "m.tflite"
    ts.write(model, path)
    again = ts.read(path)
    assert [b.outside for b in again.buffers] == [False, True, True, False]
    assert again == model.replace(operator_codes=again.operator_codes)
    small = tmp_path / "small.tflite"
    monkeypatch.undo()
    ts.write(model, small, outside=False)
    assert compared([(path, small)]) == {str(path): "same"}
    monkeypatch.setattr(writer, "FLATBUFFER_LIMIT", 10_000)
    with pytest.raises(ts.InvalidModel, match="it ends at 2 GB"):
        ts.write(model, path, outside=False)


def test_a_constant_beyond_32_bits_is_refused_inside_and_placed_outside() -> None:
    """Without a byte of it being asked for."""
    size = 5 << 30

    def chunks() -> Any:
        raise AssertionError("content was asked for")

    held = (ts.Buffer(), ts.Buffer(ts.Deferred(size, chunks)))
    model = ts.Model(subgraphs=(ts.SubGraph(),), buffers=held)
    with pytest.raises(ts.InvalidModel, match=r"would have 5368\d{6} bytes, it ends at 2 GB"):
        ts.write(model, io.BytesIO(), outside=False)
    plan = writer._Layout(model, None)
    assert plan.end_inside < 10_000 < size < plan.end


def test_tables_that_no_flatbuffer_can_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As past 2 GB, with the limit of the Builder at 64 kB."""
    monkeypatch.setattr("flatbuffers.builder.Builder.MAX_BUFFER_SIZE", 1 << 16)
    ts.to_bytes(base(description="x" * 60_000))
    with pytest.raises(ts.InvalidModel, match="tables, names and short vectors alone"):
        ts.to_bytes(base(description="x" * 70_000))


def test_custom_options_outside_are_found_by_the_interpreter(tmp_path: Path) -> None:
    """AUDIO_SPECTROGRAM, a custom operator that every interpreter has, with its options outside."""
    options = flexbuffers.Dumps({"window_size": 64, "stride": 32, "magnitude_squared": True})
    operator = ts.Operator(
        ts.OperatorCode.of("AudioSpectrogram"), (0,), (1,), custom_options=options
    )
    tensors = (ts.Tensor((512, 1), name="x"), ts.Tensor((1, 15, 33), name="y"))
    graph = ts.SubGraph(tensors, (0,), (1,), (operator,))
    model = ts.Model(subgraphs=(graph,), buffers=(ts.Buffer(),))
    inside, outside = tmp_path / "inside.tflite", tmp_path / "outside.tflite"
    ts.write(model, inside)
    ts.write(model, outside, outside=True)
    again = ts.read(outside)
    assert again.subgraphs[0].operators[0].custom_options_outside
    assert again == ts.read(inside)
    assert compared([(outside, inside)]) == {str(outside): "same"}


@pytest.mark.slow
def test_a_model_past_2_gb(tmp_path: Path) -> None:
    """Written, read, copied and run by the official interpreter. Takes 7 GB of disk."""
    path, copy = tmp_path / "m.tflite", tmp_path / "copy.tflite"
    began = time.monotonic()
    peaks = {"make": peak_mb("make", "96", path)}
    assert path.stat().st_size > 3 << 30
    peaks["copy"] = peak_mb("copy", "96", path, copy)
    peaks["sum"] = peak_mb("sum", "96", path)
    print(f"peak memory in MB {peaks}, {time.monotonic() - began:.0f} s")
    assert max(peaks.values()) < 200, peaks
    model = ts.read(copy)
    assert all(b.outside for b in model.buffers[1:])
    assert subprocess.run(["cmp", path, copy], check=False).returncode == 0
    copy.unlink()
    # 70 constants of 32 MB each that are looked into, in the interpreter.
    big = constant_model(*(ts.Deferred(32 << 20, lambda i=i: _chunks(i)) for i in range(70)))
    ts.write(big, path)
    assert path.stat().st_size > 2 << 30
    small = constant_model(*(np.full(100, i, np.uint8) for i in range(70)))
    ts.write(small, copy)
    assert compared([(path, copy)]) == {str(path): "same"}


def _chunks(value: int) -> Any:
    for _ in range(32):
        yield np.full(1 << 20, value, np.uint8)


def test_where_a_model_was_read_from(tmp_path):
    import gc
    import os

    from tflite_schema import reader

    path = tmp_path / "model.tflite"
    ts.write(base(), path)
    model = ts.read(path)
    assert ts.path_of(model) == os.path.realpath(path)
    # Equal is not enough: only what was read is known to be what the file holds.
    assert model == ts.read(path.read_bytes())
    for other in (base(), ts.read(path.read_bytes()), model.replace(description="other")):
        assert ts.path_of(other) is None
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert ts.path_of(model) is None
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ts.path_of(model) is not None
    path.unlink()
    assert ts.path_of(model) is None
    known = id(model)
    assert known in reader._MAPPED
    del model
    gc.collect()
    assert known not in reader._MAPPED
