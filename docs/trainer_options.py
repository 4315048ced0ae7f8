"""What pruning makes of every option of TRL's ``SFTConfig``: docs/answers/*.yaml, and their page.

``tests/options`` runs every case of the answers, and fails where an option has no answer.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ANSWERS = Path(__file__).parent / "answers"

EXACT, AS_STOCK = "exact", "as stock"

_INTRO = """# Options of TRL and transformers

Every field of TRL's `SFTConfig`, and so of transformers' `TrainingArguments`, and what pruning
makes of it. Fields are those of the oldest, the pinned and the newest versions that are tested.

- **Equal to stock**: at ratio 1.0 the run is that of the stock `SFTTrainer` bit by bit: losses,
  gradient norms, learning rates, evaluations, what is saved, and final weights.
- **Works**: with half of the samples and of the tokens, a run that was killed in its second epoch
  and resumed is bit by bit the run that was not: decisions, losses and final weights.
- **Refused**: in one line that says what to do instead.

`tests/options` runs each of these on a tiny model on the CPU, and fails for a field that has no
answer here. Made of `docs/answers` by `python docs/generate.py`.
"""


@dataclass(frozen=True)
class Case:
    """One value of an option, and what is to come of it.

    Attributes:
        option: The option.
        tried: Its value.
        beside: Other options that it needs.
        scene: Data and model that it needs, see tests/options/scenes.py; None for the usual ones.
        refused: Words of the message that refuses it; None if it works.
        alike: Whether the stock trainer ends as without it; None if it does not end without it.
        resume: ``EXACT``, or ``AS_STOCK`` where the option is there to go on otherwise.
        processes: Number of processes.
        needs: The version of a library that has this value.
        note: Remark for readers.
    """

    option: str
    tried: Any
    beside: Mapping[str, Any] = field(default_factory=dict)
    scene: str | None = None
    refused: str | None = None
    alike: bool | None = False
    resume: str = EXACT
    processes: int = 1
    needs: str | None = None
    note: str = ""

    def __str__(self) -> str:
        """The case in the names of tests."""
        where = [self.scene] if self.scene else []
        where += [f"{self.processes} processes"] if self.processes > 1 else []
        return f"{self.option}={_shown(self.tried)}" + (f" ({', '.join(where)})" if where else "")


@dataclass(frozen=True)
class Option:
    """An option, and the answer to it.

    Attributes:
        name: The option.
        cases: The values that are tested here; none if one of the others says why.
        tested_in: The file of the tests that answer for it.
        tested_with: The option whose cases answer for it.
        not_tested: Why nothing does.
        only: "newer" or "older" if not all versions have the option.
        note: Remark for readers.
    """

    name: str
    cases: tuple[Case, ...] = ()
    tested_in: str | None = None
    tested_with: str | None = None
    not_tested: str | None = None
    only: str | None = None
    note: str = ""

    @classmethod
    def of(cls, name: str, answer: Any) -> "Option":
        """The option of an entry: a case, a list of cases, or the reason that there is none.

        Raises:
            TypeError: The entry has a key that there is not.
        """
        if isinstance(answer, Mapping) and "tried" not in answer:
            return cls(name, **answer)
        cases, only = [], None
        for entry in answer if isinstance(answer, list) else [answer]:
            only = entry.pop("only", only)
            beside = entry.pop("with", {})
            cases.append(Case(option=name, beside=beside, **entry))
        return cls(name, tuple(cases), only=only)


@dataclass(frozen=True)
class Topic:
    """Options that belong together.

    Attributes:
        title: Heading.
        options: Options with an answer each.
        groups: Options that pruning has no part in, by what they are about.
    """

    title: str
    options: tuple[Option, ...]
    groups: Mapping[str, list[str]]


def topics() -> list[Topic]:
    """All answers, in the order of the page."""
    found = []
    for path in sorted(ANSWERS.glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        options = tuple(Option.of(*entry) for entry in content.get("options", {}).items())
        found.append(Topic(content["title"], options, content.get("groups", {})))
    return found


def options() -> list[Option]:
    """Every option that has an answer."""
    return [option for topic in topics() for option in topic.options]


def beyond() -> list[str]:
    """The options that pruning has no part in."""
    return [name for topic in topics() for names in topic.groups.values() for name in names]


def page() -> str:
    """The page of all options, Markdown."""
    parts = [_INTRO]
    for topic in topics():
        parts.append(f"## {topic.title}\n")
        if topic.options:
            parts.append(
                "| option | tried | at ratio 1.0 | pruned | remarks |\n|---|---|---|---|---|"
            )
            parts += [line for option in topic.options for line in _lines(option)]
            parts.append("")
        for about, names in topic.groups.items():
            parts.append(f"- **{about}**: {', '.join(f'`{name}`' for name in names)}")
    return "\n".join(parts) + "\n"


def _lines(option: Option) -> Iterator[str]:
    only = f"Only in {option.only} versions." if option.only else ""
    if option.not_tested:
        yield _line(
            option.name, "", "not tested", "not tested", option.not_tested + ".", option.note
        )
    elif option.tested_with:
        yield _line(option.name, f"with `{option.tested_with}`", *_WORKS, option.note)
    elif option.tested_in:
        where = f"Tested in `{option.tested_in}`."
        yield _line(option.name, "", "", "", where, option.note)
    for case in option.cases:
        tried = f"`{_shown(case.tried)}`"
        if case.beside:
            tried += " with " + ", ".join(f"`{k}: {_shown(v)}`" for k, v in case.beside.items())
        if case.processes > 1:
            tried += f", {case.processes} processes"
        answers, notes = _REFUSED, [only, case.note]
        if case.refused is None:
            answers = _WORKS
            notes.append(_RESUMED[case.resume])
        yield _line(option.name, tried, *answers, *notes)


_WORKS = ("equal to stock (tested)", "works (tested)")
_REFUSED = ("refused (tested)", "refused (tested)")
_RESUMED = {
    EXACT: "",
    AS_STOCK: "Resumed, it is the stock trainer resumed, bit by bit.",
}


def _line(name: str, *cells: str) -> str:
    tried, stock, pruned, *notes = cells
    remarks = " ".join(filter(None, notes))
    return f"| `{name}` | {tried} | {stock} | {pruned} | {remarks} |"


def _shown(value: Any) -> str:
    """A value as YAML has it, in one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")
