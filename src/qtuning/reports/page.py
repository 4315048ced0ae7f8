"""The page: one HTML file that needs nothing else and asks nobody."""

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FOLDER = files(__package__) / "page"
# In this order: each uses what is in those before it.
_SCRIPTS = ("select", "elements", "plane", "charts", "data", "samples", "main")
_TYPES = {
    "float64": "f8",
    "float32": "f4",
    "uint32": "u4",
    "int32": "i4",
    "uint16": "u2",
    "uint8": "u1",
}


def page(payload: Mapping[str, Any]) -> str:
    """The HTML of a report.

    The payload is gzipped JSON in base64, so that no text of it can be taken for markup. The page's
    policy allows the one style and the one script that are in it, by their hashes, and nothing
    else.

    Args:
        payload: What ``payload.payload_of`` makes.
    """
    style = (_FOLDER / "style.css").read_text(encoding="utf-8")
    parts = [(_FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS]
    script = '"use strict";\n' + "\n".join(parts)
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    text = json.dumps(payload, separators=(",", ":"), allow_nan=False)
    packed = base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()
    template = Template((_FOLDER / "template.html").read_text(encoding="utf-8"))
    return template.substitute(policy=policy, style=style, script=script, payload=packed)


def array(values: NDArray[Any]) -> dict[str, str]:
    """A column of numbers as the page reads it: type and little-endian bytes in base64."""
    little = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False)
    data = base64.b64encode(little.tobytes()).decode()
    return {"type": _TYPES[str(values.dtype)], "data": data}


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
