"""Make alibi's explainers safe for concurrent requests, and fast.

This package does not import alibi. It recognizes an explainer by the package of its class, once the
author's pipeline has loaded it.
"""

from __future__ import annotations

from typing import TypeVar

__all__ = ["fast"]

T = TypeVar("T")


def fast(explainer: T) -> T:
    """Return a copy of one of alibi's explainers that returns the same explanations in less time.

    Pipelines on a server do this by themselves. The copy shares the data of the original, and like the
    original it can serve one call at a time.

    Args:
        explainer: A fitted explainer. Only `AnchorTabular` and `AnchorText` become faster.
    """
    from tempo_runtime.execution.explain.isolation import isolated

    return isolated(explainer)  # type: ignore[no-any-return]
