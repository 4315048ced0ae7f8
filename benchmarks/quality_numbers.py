"""The study's arithmetic: agreement of kept sets."""

from collections.abc import Sequence


def jaccard(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Common members over all members of two sets, given as flags on the same items.

    Two empty sets agree: 1.
    """
    both = sum(x and y for x, y in zip(a, b, strict=True))
    either = sum(x or y for x, y in zip(a, b, strict=True))
    return both / either if either else 1.0


def chance_jaccard(share: float) -> float:
    """What two independent choices of that share have in common, in large numbers."""
    return share / (2 - share)


def pack_bits(flags: Sequence[bool]) -> str:
    """Flags as hexadecimal digits, the first flag in the highest bit."""
    text = "".join("1" if flag else "0" for flag in flags)
    text += "0" * (-len(text) % 4)
    return "".join(f"{int(text[i : i + 4], 2):x}" for i in range(0, len(text), 4))


def unpack_bits(digits: str, n: int) -> list[bool]:
    """The first ``n`` flags that ``pack_bits`` packed."""
    return [bit == "1" for digit in digits for bit in f"{int(digit, 16):04b}"][:n]
