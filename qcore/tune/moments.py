"""First and second moments of what the rows of a weight are multiplied with."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LEVELS = ("mean", "covariance")
MOST = 1 << 26  # covariances of one operator, 512 MB: K of 8192


@dataclass(eq=False)
class Moments:
    """Sums over the columns x of one linear operator, (G, N, K), of all samples.

    count: N.  total: (G, K) float64, sum of x.  products: (G, K, K) float64, sum of x x^T; None
    where only means were asked for. Merging adds them, so that the last bits depend on how samples
    were dealt out; in one process samples are taken one after the other.
    """

    count: int
    total: np.ndarray
    products: np.ndarray | None = None
    solved: dict[Any, Any] = field(default_factory=dict, repr=False)  # what was computed from it

    @classmethod
    def start(cls, groups: int, size: int, level: str) -> Moments:
        """Of no columns yet. Means alone where covariances would be more than MOST values."""
        level = level if groups * size * size <= MOST else "mean"
        products = np.zeros((groups, size, size)) if level == "covariance" else None
        return cls(0, np.zeros((groups, size)), products)

    @property
    def level(self) -> str:
        return "mean" if self.products is None else "covariance"

    def update(self, blocks: Iterable[np.ndarray]) -> None:
        """Take in columns, blocks of (G, N, K) float32."""
        for block in blocks:
            x = block.astype(np.float64)
            self.count += x.shape[1]
            self.total += x.sum(1)
            if self.products is not None:
                self.products += np.matmul(x.transpose(0, 2, 1), x)  # NumPy computes half of it

    def merge(self, other: Moments) -> Moments:
        """Of both sets of columns; covariances only where both have them."""
        both = self.products is not None and other.products is not None
        return Moments(
            self.count + other.count,
            self.total + other.total,
            self.products + other.products if both else None,  # type: ignore[operator]
        )

    @property
    def mean(self) -> np.ndarray:
        """(G, K)."""
        return self.total / max(1, self.count)

    def second(self, central: bool) -> np.ndarray:
        """(G, K, K): the mean of x x^T, less that of the mean where `central`.

        A central one is 0 where a column varies by less than what rounding N sums may make.
        """
        assert self.products is not None
        found = self.products / max(1, self.count)
        if central:
            noise = np.einsum("gkk->gk", found) * self.count * 2.0**-52
            found -= self.mean[:, :, None] * self.mean[:, None, :]
            still = np.einsum("gkk->gk", found) <= noise
            found[still[:, :, None] | still[:, None, :]] = 0.0
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values; arrays as base64 of little-endian float64, products as lower triangles."""
        groups, size = self.total.shape
        out: dict[str, Any] = {"count": self.count, "groups": groups, "total": _text(self.total)}
        if self.products is not None:
            out["products"] = _text(self.products[(slice(None), *np.tril_indices(size))])
        return out

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Moments:
        """What `to_json` gave. Raises LookupError, TypeError or ValueError for anything else."""
        count, groups = data["count"], data["groups"]
        if type(count) is not int or type(groups) is not int or count < 0 or groups < 1:
            raise ValueError(f"the moments count {count!r} columns in {groups!r} groups")
        total = _array(data["total"])
        if total.size % groups or not total.size:
            raise ValueError(f"{total.size} means in {groups} groups")
        size = total.size // groups
        products = None
        if "products" in data:
            lower = _array(data["products"])
            if lower.size != groups * (size * (size + 1) // 2):
                raise ValueError(f"{lower.size} products of {groups} x {size} columns")
            products = np.zeros((groups, size, size))
            rows, columns = np.tril_indices(size)
            products[:, rows, columns] = lower.reshape(groups, -1)
            products[:, columns, rows] = lower.reshape(groups, -1)
        return cls(count, total.reshape(groups, size), products)


def _text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, "<f8").tobytes()).decode("ascii")


def _array(text: Any) -> np.ndarray:
    if not isinstance(text, str):
        raise ValueError("moments are no text")
    try:
        found = np.frombuffer(base64.b64decode(text, validate=True), "<f8").astype(np.float64)
    except binascii.Error as error:
        raise ValueError(f"moments are no base64 ({error})") from None
    if not np.isfinite(found).all():
        raise ValueError("moments hold NaN or infinity")
    return found
