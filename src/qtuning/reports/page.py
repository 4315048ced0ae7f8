"""The pages: each is one HTML file that loads no other file and makes no requests."""

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_FOLDER = files(__package__) / "page"
# In the order of loading: each script uses the scripts before it.
_SCRIPTS = {
    "report": (
        *("elements", "frame", "select", "plane", "charts", "course", "data", "samples", "main"),
    ),
    "inspection": ("elements", "frame", "tokens", "inspection"),
}
TEXT_BYTES = 3_000_000
"""Approximate limit of the texts in a page; gzip reduces them to about a third."""
_TYPES = {
    "float64": "f8",
    "float32": "f4",
    "uint32": "u4",
    "int32": "i4",
    "uint16": "u2",
    "uint8": "u1",
}


def page(payload: Mapping[str, Any], kind: Literal["report", "inspection"] = "report") -> str:
    """Make the HTML of a page.

    The payload is gzipped JSON in base64, so that none of its texts can be parsed as markup. The
    page's content security policy allows its style and its script, by their hashes, and nothing
    else but pictures that are in the page, where there are some.

    Args:
        payload: The data of the page: of a report, from ``payload.payload_of``. Its ``title`` is
            the heading.
        kind: What the page shows.
    """
    style = (_FOLDER / "style.css").read_text(encoding="utf-8")
    parts = [(_FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS[kind]]
    script = '"use strict";\n' + "\n".join(parts)
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    if any("images" in one for name in ("texts", "rows") for one in payload.get(name, ())):
        policy += "; img-src data:"
    text = json.dumps(payload, separators=(",", ":"), allow_nan=False)
    payload_text = base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()
    template = Template((_FOLDER / "template.html").read_text(encoding="utf-8"))
    return template.substitute(
        policy=policy,
        style=style,
        script=script,
        payload=payload_text,
        brand=f"qtuning {kind}",
        body=(_FOLDER / f"{kind}.html").read_text(encoding="utf-8"),
    )


def array(values: NDArray[Any]) -> dict[str, str]:
    """Encode a column of numbers for the page: type and little-endian bytes in base64."""
    little_endian = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False)
    data = base64.b64encode(little_endian.tobytes()).decode()
    return {"type": _TYPES[str(values.dtype)], "data": data}


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
