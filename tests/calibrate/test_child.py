"""A crash, a hang, too much memory in the child are errors here; nothing outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from qcore.errors import BadSample, RuntimeFailed
from qcore.peers.child import TAIL_BYTES, Child, Items, call

T = "tests.calibrate.targets:"
ROOT = Path(__file__).resolve().parents[2]


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether the process ends within `seconds` (a zombie that nobody has collected has ended)."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_call_returns_the_value_and_keeps_chatter_apart() -> None:
    with Child(T + "add") as child:
        assert np.array_equal(child.call(np.arange(3), 2), [2, 3, 4])
        assert child.call("a", "b") == "ab"
    assert "chatter" in child.printed()


def test_large_arrays_arrive_bit_for_bit(rng: np.random.Generator) -> None:
    big = rng.standard_normal((700, 1000))
    assert np.array_equal(call(T + "add", big, 0.0), big)


def test_stream_takes_a_generator_once_and_not_far_ahead() -> None:
    taken = []

    def items():
        for i in range(20):
            taken.append(i)
            yield np.full(3, i, np.float32)

    with Child(T + "each") as child:
        stream = child.stream(Items(), items=items(), ahead=2)
        assert [next(stream) for _ in range(3)] == [0.0, 3.0, 6.0]
        assert len(taken) <= 6
        assert list(stream) == [3.0 * i for i in range(3, 20)]
        assert taken == list(range(20))
        assert list(child.stream(Items(), items=[np.ones(2)])) == [2.0]


def test_a_target_may_stop_reading_early() -> None:
    with Child(T + "first_only") as child:
        items = (np.full(1 << 18, i, np.float64) for i in range(8))
        assert child.call(Items(), items=items) == 0.0
        assert child.call(Items(), items=[np.ones(3)]) == 3.0


@pytest.mark.parametrize(
    "target, number, words",
    [
        ("abort", signal.SIGABRT, "the runtime says: no such kernel"),
        ("segfault", signal.SIGSEGV, "crashed (SIGSEGV)"),
        ("leave", None, "exit code 3"),
    ],
)
def test_a_crash_is_an_error(target: str, number: int | None, words: str) -> None:
    with pytest.raises(RuntimeFailed, match="the quantizer") as caught:
        call(T + target, what="the quantizer")
    assert caught.value.signal == number
    assert words in str(caught.value)


def test_refusals_keep_their_words_and_our_errors_their_type() -> None:
    with pytest.raises(RuntimeFailed, match="refused: this is no model"):
        call(T + "refuse")
    with pytest.raises(BadSample, match=r"^sample 3 is bad$"):
        call(T + "our_error")


@pytest.mark.parametrize("target", ["hang", "hang_in_native_code"])
def test_a_hang_ends_at_the_time_limit(target: str) -> None:
    started = time.monotonic()
    with Child(T + target, time_limit=0.6) as child, pytest.raises(RuntimeFailed, match=r"0\.6 s"):
        child.call()
    assert time.monotonic() - started < 10
    assert gone(child.pid)


def test_a_child_that_reads_nothing_does_not_block_the_sender() -> None:
    items = (np.zeros(1 << 18) for _ in range(10))
    with Child(T + "hang", time_limit=0.6) as child, pytest.raises(RuntimeFailed):
        child.call(items=items)


def test_memory_limit() -> None:
    with pytest.raises(RuntimeFailed, match="more than the 150 MB"):
        call(T + "grow", memory_limit=150_000_000)


def test_printing_much_neither_blocks_nor_grows() -> None:
    with Child(T + "chatter") as child:
        assert child.call(20_000) == 20_000
    assert "line 19999" in child._tail.text(5.0)
    assert len(child.printed()) < 2 * TAIL_BYTES


def test_closing_and_interrupting_end_the_process() -> None:
    child = Child(T + "hang")
    child.close()
    assert gone(child.pid)
    with Child(T + "each") as child:
        stream = child.stream(Items(), items=iter([np.ones(1)] * 5), ahead=1)
        next(stream)
        stream.close()
        assert gone(child.pid)
        with pytest.raises(RuntimeFailed):
            child.call(Items(), items=[])


def _script(tmp_path: Path, body: str) -> subprocess.Popen[str]:
    """A user's script, without any `if __name__` guard."""
    path = tmp_path / "script.py"
    path.write_text(body)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment, cwd=tmp_path,
    )  # fmt: skip


HANG = """
from qcore.peers.child import Child
child = Child("tests.calibrate.targets:{target}")
print(child.pid, flush=True)
child.call()
"""


@pytest.mark.parametrize("target", ["hang", "hang_in_native_code"])
def test_the_child_dies_with_its_parent(tmp_path: Path, target: str) -> None:
    parent = _script(tmp_path, HANG.format(target=target))
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    time.sleep(0.3)
    assert not gone(pid, 0.1)
    parent.kill()
    parent.communicate()
    assert gone(pid)


def test_ctrl_c_is_clean(tmp_path: Path) -> None:
    parent = _script(tmp_path, HANG.format(target="hang"))
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    time.sleep(0.3)
    parent.send_signal(signal.SIGINT)
    _, errors = parent.communicate(timeout=20)
    assert gone(pid)
    assert errors.strip().endswith("KeyboardInterrupt")
    assert "BrokenPipe" not in errors and "Exception ignored" not in errors


def test_a_script_without_a_guard_runs_once(tmp_path: Path) -> None:
    body = "from qcore.peers.child import call\nprint(call('tests.calibrate.targets:add', 1, 2))\n"
    out, errors = _script(tmp_path, body).communicate(timeout=60)
    assert (out, errors) == ("3\n", "")
