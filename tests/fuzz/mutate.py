"""Makes broken files of sound ones; all of it follows from the generator's seed."""

import json
import random
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 0.5, -0.0, 2**31, 2**63, -(2**63), 1e308, float("nan")),
    *("", "x", "\0", "\ud800", "../x", "/etc/passwd", "a:b", "\u202e", "x" * 5000, "1", "true"),
    *([], {}, [[]], [None], {"a": []}, [1, "a"], {"role": "user"}, ["a"] * 50),
)
BYTES = (
    *(b"", b"\0", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"PAR1", b"null", b"[", b"{", b'"'),
    *(b"\n", b"\r", b"- ", b": ", b"&a [*a]", b"!!python/name:os", b"{}", b"NaN", b"1e999"),
    *(b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0" * 8, b"\xff" * 8, b"," * 20, b"[" * 3000),
)


def mutated(content: bytes, name: str, draw: random.Random) -> bytes:
    """The content of a file with something wrong; of JSON now and then a value of its tree."""
    if name.endswith((".json", ".jsonl")) and draw.random() < 0.6:
        return _json(content, name, draw)
    if name.endswith((".yaml", ".yml")) and draw.random() < 0.6:
        return _lines(content, draw)
    made = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        _bytes(made, draw)
    return bytes(made)


def _bytes(made: bytearray, draw: random.Random) -> None:
    # Formats say at their ends what they are.
    size = len(made)
    near = draw.choice((size, min(size, 64), size))
    place = draw.randrange(near + 1)
    if draw.random() < 0.3:
        place = size - place
    kind = draw.randrange(7)
    if kind == 0 and made:
        made[min(place, size - 1)] ^= 1 << draw.randrange(8)
    elif kind == 1:
        del made[place:]
    elif kind == 2:
        del made[place : place + draw.randrange(1, 40)]
    elif kind == 3:
        made[place:place] = draw.choice(BYTES)
    elif kind == 4:
        token = draw.choice(BYTES)
        made[place : place + len(token)] = token
    elif kind == 5:
        made[place:place] = made[place : place + draw.randrange(1, 200)]
    else:
        made[place : place + 4] = draw.randbytes(4)


def _lines(content: bytes, draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    place = draw.randrange(len(lines))
    key = lines[place].split(b":")[0]
    value = json.dumps(draw.choice(VALUES)).encode()
    lines[place] = draw.choice((lines[place] + b"\n" + lines[place], key + b": " + value, b""))
    return b"\n".join(lines)


def _json(content: bytes, name: str, draw: random.Random) -> bytes:
    if name.endswith(".jsonl"):
        lines = content.splitlines()
        place = draw.randrange(len(lines))
        lines[place] = json.dumps(changed(json.loads(lines[place]), draw)).encode()
        return b"\n".join(lines)
    return json.dumps(changed(json.loads(content), draw)).encode()


def changed(value: Any, draw: random.Random) -> Any:
    """A tree of values with one of them another, or gone."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(sorted(value))
        if draw.random() < 0.2:
            return {name: one for name, one in value.items() if name != key}
        return {**value, key: changed(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.8:
        place = draw.randrange(len(value))
        return [*value[:place], changed(value[place], draw), *value[place + 1 :]]
    return draw.choice(VALUES)
