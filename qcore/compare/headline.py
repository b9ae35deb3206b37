"""The most important thing of a comparison in one sentence."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from qcore.compare.values import Candidate, Layer
from qcore.params import TensorKey

NAME = 60  # characters of a tensor's name
BROKEN_DB = 10.0  # an operator that makes more than a tenth of its signal into noise
LIKE_DB = 3.0  # half the energy: an input so near is as bad as what is made of it


def worst(
    candidate: Candidate, inputs: Mapping[TensorKey, Sequence[TensorKey]]
) -> TensorKey | None:
    """The layer that loses most by itself.

    inputs: layer -> the layers its operator reads. An operator is fed with inputs as coarse as the
    candidate stores them, so where one of them is about as bad itself, and worse than usual, that
    one is meant.
    """
    own = {
        key: seen.own.SQNR_dB
        for key, seen in candidate.seen.items()
        if seen.own is not None and seen.own.signal > 0 and not math.isnan(seen.own.SQNR_dB)
    }
    if not own:
        return None
    key = min(own, key=lambda k: own[k])
    usual = statistics.median(own.values())
    seen_keys = {key}
    while True:
        before = [k for k in inputs.get(key, ()) if k in own and k not in seen_keys]
        bad = [k for k in before if own[k] <= min(own[key], usual - 2 * LIKE_DB) + LIKE_DB]
        if not bad:
            return key
        key = min(bad, key=lambda k: own[k])
        seen_keys.add(key)


def headline(
    layers: Sequence[Layer],
    candidates: Sequence[Candidate],
    inputs: Mapping[TensorKey, Sequence[TensorKey]],
) -> str:
    """Which candidate loses most at which layer, and how the candidates stand at the output."""
    able = [c for c in candidates if not c.error]
    if not able:
        first = candidates[0] if candidates else None
        return "" if first is None else f"No candidate could be compared: {first.error}"
    by_key = {layer.key: layer for layer in layers}
    found = []
    for c in able:
        key = worst(c, inputs)
        if key is not None and key in by_key:
            own = c.seen[key].own
            assert own is not None
            found.append((own.SQNR_dB, c, key))
    if not found or min(found, key=lambda f: f[0])[0] == math.inf:
        return _standing(able) or "Nothing differs"
    db, c, key = min(found, key=lambda f: f[0])
    layer, seen = by_key[key], c.seen[key]
    values = [s.own.SQNR_dB for s in c.seen.values() if s.own is not None and s.own.signal > 0]
    middle = statistics.median(values)
    reason = next((r for r in seen.reasons if not r.startswith("inherited")), "")
    verb = "breaks at" if db < BROKEN_DB else "is weakest at"
    text = (
        f"{c.name} {verb} {short(layer.name)!r} ({layer.op} {layer.operator}): {decibel(db)} by "
        f"itself, the median layer has {decibel(middle)}" + (f"; {reason}" if reason else "")
    )
    standing = _standing(able)
    return f"{text}. {standing}" if standing else text


def _standing(candidates: Sequence[Candidate]) -> str:
    """The best and the worst, by accuracy or at the output."""
    if len(candidates) < 2:
        return ""
    rated = [(c.accuracy.value, c.name) for c in candidates if c.accuracy is not None]
    if len(rated) == len(candidates):
        best, least = max(rated), min(rated)
        if best[0] == least[0]:
            return f"All have the same accuracy, {100 * best[0]:.2f} %"
        first, last = (
            ", ".join(name for share, name in rated if share == end[0]) for end in (best, least)
        )
        return (
            f"Best accuracy: {first} with {100 * best[0]:.2f} %, least: {last} with "
            f"{100 * least[0]:.2f} %"
        )
    dbs = [(min(d.SQNR_dB for d in c.outputs), c.name) for c in candidates if c.outputs]
    dbs = [d for d in dbs if not math.isnan(d[0])]
    if len(dbs) < 2:
        return ""
    best, least = max(dbs), min(dbs)
    return (
        f"Nearest to the float model at the output: {best[1]} ({decibel(best[0])}), farthest: "
        f"{least[1]} ({decibel(least[0])})"
    )


def short(name: str) -> str:
    """A name that fits a line: the converter joins those of all operators that it fused."""
    first = name.split(";")[0]
    return first if len(first) <= NAME else f"{first[: NAME // 2 - 1]}…{first[-(NAME // 2) :]}"


def decibel(db: float) -> str:
    return "exact" if db == math.inf else f"{db:.1f} dB"
