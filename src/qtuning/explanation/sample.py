"""One sample of a run over its visits."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UsageError
from ..io.row_text import Text
from .history import History
from .summary import ALWAYS, FLIPPING, NEVER, path_text
from .texts import Texts
from .visit import Visit, text_as_dict, visits_at

_COMPARED = 20_000
"""Most names that a name that is not there is compared with."""


@dataclass(frozen=True)
class Sample:
    """A sample and its visits.

    Attributes:
        sample_id: Name of the sample.
        fate: ``"never"`` kept, ``"always"`` kept or ``"flipping"``.
        path: The quadrants that it went through, such as ``"Q1 > Q3"``.
        text: Prompt and answer; None if not known.
        visits: The visits in the order of the steps.
    """

    sample_id: str
    fate: str
    path: str
    text: Text | None
    visits: tuple[Visit, ...]

    def to_dict(self) -> dict[str, Any]:
        """The sample as plain data for JSON."""
        rows = [visit.to_dict() for visit in self.visits]
        return {
            "sample_id": self.sample_id,
            "fate": self.fate,
            "path": self.path,
            "visits": len(rows),
            "kept": sum(row["decision"] != "dropped" for row in rows),
            "text": text_as_dict(self.text),
            "rows": [{k: v for k, v in row.items() if k != "text"} for row in rows],
        }


def sample_of(history: History, name: str, texts: Texts | None, where: str) -> Sample:
    """A sample of a run.

    Args:
        history: The visits of the run.
        name: Name of the sample.
        texts: Texts of samples; None for none.
        where: Name of the run in messages.

    Raises:
        UsageError: The run has no such sample.
    """
    index = pc.index(history.names, name).as_py()
    if index < 0:
        matches = close_names(history.names, name)
        hint = f"did you mean {', '.join(map(repr, matches))}? " if matches else ""
        raise UsageError(
            f"no sample {name!r} in {where}: {hint}Name one by its sample_id or id, or, where the "
            "data have neither column, by its row number"
        )
    places = np.flatnonzero(history.sample == index)
    visits = visits_at(history, places, texts)
    n_kept = int(history.kept[places].sum())
    return Sample(
        sample_id=name,
        fate=NEVER if n_kept == 0 else ALWAYS if n_kept == len(places) else FLIPPING,
        path=path_text(history.place[places].tolist()),
        text=visits[0].text,
        visits=tuple(visits),
    )


def close_names(names: pa.Array, name: str) -> list[str]:
    """At most three names that are like another one.

    Of many names, only those are compared that begin alike.
    """
    for length in range(len(name) if len(names) > _COMPARED else 0, -1, -1):
        alike = names.filter(pc.starts_with(names, name[:length]))
        if len(alike):
            break
    return get_close_matches(name, alike.slice(0, _COMPARED).to_pylist(), n=3)
