"""Quantities of resources in the form that Kubernetes stores.

A webhook that reads an object into Go's types writes its quantities back in canonical form, so a manifest
with another spelling of the same quantity always differs from what is stored. The form is defined in
pkg/api/resource/quantity.go of kubernetes/apimachinery: no fraction, and the largest suffix that allows
this.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil

_PARTS = re.compile(r"(\d*)\.?(\d*)(?:([KMGTPE]i)|([numkMGTPE])|[eE]([+-]?\d+))?")
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SMALLEST = Fraction(1, 10**9)


def canonical(quantity: str) -> str:
    """Return a quantity in canonical form, such as `500m` for `0.5` and `1Gi` for `1024Mi`.

    Args:
        quantity: A quantity as the options accept it.
    """
    match = _PARTS.fullmatch(quantity)
    if match is None:
        return quantity
    whole, fraction, binary, decimal, exponent = match.groups()
    digits = (whole + fraction).lstrip("0") or "0"
    value = Fraction(int(digits), 10 ** len(fraction))
    if binary:
        # As in Go, a quantity that needs no other suffix keeps its spelling.
        if not fraction and int(digits) % 8:
            return quantity
        value *= 1024 ** _BINARY.index(binary)
    else:
        scale = int(exponent) if exponent else _DECIMAL[decimal or ""]
        if (scale - len(fraction)) % 3 == 0 and whole.strip("0") and not digits.endswith("000"):
            return quantity
        value *= Fraction(10) ** scale
    value = ceil(value / _SMALLEST) * _SMALLEST
    if not value:
        return "0"
    if binary and value >= 1024 and value.denominator == 1:
        power = max(p for p in range(len(_BINARY)) if value % 1024**p == 0)
        return f"{value // 1024**power}{_BINARY[power]}"
    powers = {power: suffix for suffix, power in _DECIMAL.items()}
    limit = 60 if exponent else 18
    power = max(p for p in range(-9, limit + 1, 3) if (value / Fraction(10) ** p).denominator == 1)
    if exponent:
        powers = {power: f"e{power}" if power else ""}
    return f"{int(value / Fraction(10) ** power)}{powers[power]}"
