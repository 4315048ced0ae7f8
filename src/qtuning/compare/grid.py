"""What a comparison consists of: the YAML file, and the cells that it stands for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Any

from ..arguments import PruningArguments
from ..errors import UsageError
from ..io.paths import path_of
from ..io.yaml_files import read_yaml, refuse_code
from .grid_values import check_values, mapping


@dataclass(frozen=True)
class Data:
    """Rows to train on and to evaluate with.

    Attributes:
        name: What readers see.
        train: JSON Lines files with ``prompt`` and ``completion``.
        held_out: Such files for answer NLL and calibration.
        train_rows: So many rows, drawn by ``row_seed`` whatever the run's seed; None for all.
        held_out_rows: Likewise.
        row_seed: Seed of the draw.
        prompt_end: Put behind every prompt, so that no token spans prompt and completion.
        shuffled: Share of the rows whose completions change places: noise that is known.
        record: Keys of ``meta`` whose values are counted by quadrant; "shuffled" is one of them.
        training: Fields of ``QTuningConfig``.
        lora: Fields of peft's ``LoraConfig``; None trains all weights.
        tasks: Tasks to evaluate on, see ``qtuning evaluate``.
        task_limit: First so many questions of each; None for all.
        score: ``task:metric`` or ``task:metric,filter`` that are averaged into the score.
    """

    name: str
    train: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    train_rows: int | None = None
    held_out_rows: int | None = None
    row_seed: int = 0
    prompt_end: str = "\n"
    shuffled: float = 0.0
    record: tuple[str, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    lora: Mapping[str, Any] | None = None
    tasks: tuple[str, ...] = ()
    task_limit: int | None = None
    score: tuple[str, ...] = ()


@dataclass(frozen=True)
class Method:
    """A way to train.

    Attributes:
        name: What readers see.
        pruning: Fields of ``PruningArguments``, without the two ratios.
        train: False: the model as it came, evaluated once.
        budgeted: False: the ratios do not matter, so it is run once for all budgets.
        tokens_of: Another method whose actual answer tokens it is given, in place of the ratios.
    """

    name: str
    pruning: Mapping[str, Any] = field(default_factory=dict)
    train: bool = True
    budgeted: bool = True
    tokens_of: str | None = None


@dataclass(frozen=True)
class Budget:
    """Keep ratios."""

    sample_ratio: float
    token_ratio: float

    @property
    def name(self) -> str:
        """As papers write it."""
        return f"{100 * self.sample_ratio:.4g}% x {100 * self.token_ratio:.4g}%"


@dataclass(frozen=True)
class Cell:
    """One run: a method on data with a model, a budget and a seed."""

    model: str
    data: Data
    method: Method
    budget: Budget | None
    seed: int

    @property
    def name(self) -> str:
        """Readable and unique within a grid."""
        budget = "" if self.budget is None else f", {self.budget.name}"
        return f"{self.model}, {self.data.name}: {self.method.name}{budget}, seed {self.seed}"


@dataclass(frozen=True)
class Grid:
    """A comparison.

    Attributes:
        models: Name, and folder or Hub id.
        data: By name.
        methods: By name.
        training: Fields of ``QTuningConfig`` for all data.
        blocks: What is crossed with what; each a product of its lists.
        evaluation: Arguments of ``evaluation.run_tasks`` for all data.
        means: Name, and the data whose mean gets a table.
        references: Methods that others are compared with besides ``random-random`` and ``full``:
            at the same budget, or all of them with the method at the budget given.
    """

    models: Mapping[str, str]
    data: Mapping[str, Data]
    methods: Mapping[str, Method]
    training: Mapping[str, Any]
    blocks: tuple[Mapping[str, Any], ...]
    evaluation: Mapping[str, Any]
    means: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    references: Mapping[str, Budget | None] = field(default_factory=dict)

    def cells(self) -> list[Cell]:
        """All cells, each once, seed by seed so that half a study is a study of fewer seeds."""
        found: dict[str, Cell] = {}
        for block in self.blocks:
            for cell in self._of_block(block):
                found.setdefault(cell.name, cell)
        return sorted(found.values(), key=lambda cell: cell.seed)

    def _of_block(self, block: Mapping[str, Any]) -> Iterator[Cell]:
        first = block["seeds"][0]
        for seed, model, data, name in product(
            block["seeds"], block["models"], block["data"], block["methods"]
        ):
            method = self.methods[name]
            if not method.train and seed != first:
                continue  # nothing is drawn
            for budget in block["budgets"] if method.train and method.budgeted else [None]:
                yield Cell(model, self.data[data], method, budget, seed)


def names_files(field: str) -> bool:
    """Whether a field of ``PruningArguments`` names a model, or scores made beforehand."""
    return field.endswith("_name_or_path") or field == "initial_scores"


_KEYS = ("models", "data", "methods", "training", "grid", "evaluation", "means", "references")


def read_grid(path: Path, *, own_code: bool = False) -> Grid:
    """Read a grid's YAML; paths in it are relative to the file.

    Args:
        path: The file.
        own_code: Whether it may name code to run: pruners of one's own, kernels, remote code.

    Raises:
        UsageError: It cannot be read, something in it is unknown, missing or of another kind, or
            it names code that it may not.
    """
    content = read_yaml(path, "--config")
    if not own_code:
        refuse_code(content, path, "pass --own_code if you trust it")
    _known(content, _KEYS, str(path))
    for key in ("models", "data", "methods", "grid"):
        if not content.get(key):
            raise UsageError(f"--config {path}: {key} is missing or empty")
    for key in ("models", "data", "methods", "training", "evaluation", "means", "references"):
        mapping(content.get(key), f"{path}, {key}")
    if not isinstance(content["grid"], list):
        raise UsageError(f"{path}, grid: must be a list of blocks")
    data = {name: _data(name, given or {}, path) for name, given in content["data"].items()}
    methods = {name: _method(name, given or {}, path) for name, given in content["methods"].items()}
    for method in methods.values():
        if method.tokens_of is not None and method.tokens_of not in methods:
            raise UsageError(f"{path}, methods: {method.name}: no method {method.tokens_of}")
    return Grid(
        models={name: _path(str(given), path) for name, given in content["models"].items()},
        data=data,
        methods=methods,
        training=content.get("training") or {},
        blocks=tuple(_block(block, content, path) for block in content["grid"]),
        evaluation=_evaluation(content.get("evaluation") or {}, path),
        means={
            name: _means(name, _many(some), data, path)
            for name, some in (content.get("means") or {}).items()
        },
        references={
            name: _reference(name, pair, methods, path)
            for name, pair in (content.get("references") or {}).items()
        },
    )


def _data(name: str, given: Mapping[str, Any], path: Path) -> Data:
    where = f"{path}, data: {name}"
    given = mapping(given, where)
    _known(given, [one.name for one in fields(Data)], where)
    if not given.get("train"):
        raise UsageError(f"{where}: train is missing; name the JSON Lines files")
    made = dict(given)
    for key in ("train", "held_out"):
        made[key] = tuple(_path(str(file), path) for file in _many(given.get(key)))
    for key in ("record", "tasks", "score"):
        made[key] = tuple(_many(given.get(key)))
    check_values(Data, made, where)
    return Data(**{**made, "name": name})


def _method(name: str, given: Mapping[str, Any], path: Path) -> Method:
    own = {"train", "budgeted", "tokens_of"}
    where = f"{path}, methods: {name}"
    given = mapping(given, where)
    known = [one.name for one in fields(PruningArguments)]
    _known(given, [*own, *known], where)
    check_values(Method, {key: given[key] for key in own if key in given}, where)
    pruning = {
        key: _path(str(value), path) if names_files(key) and value is not None else value
        for key, value in given.items()
        if key not in own
    }
    return Method(name, pruning, **{key: given[key] for key in own if key in given})


def _block(block: Mapping[str, Any], content: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    keys = ("models", "data", "methods", "budgets", "seeds")
    _known(mapping(block, f"{path}, grid"), keys, f"{path}, grid")
    made = {key: _many(block.get(key)) for key in keys}
    for key in ("models", "data", "methods"):
        made[key] = made[key] or list(content[key])
        for name in made[key]:
            if not isinstance(name, str) or name not in content[key]:
                raise UsageError(f"{path}, grid: no {name} under {key}")
    for key in ("budgets", "seeds"):
        if not made[key]:
            raise UsageError(f"{path}, grid: {key} is missing")
    if not all(isinstance(seed, int) for seed in made["seeds"]):
        raise UsageError(f"{path}, grid: seeds are integers, got {made['seeds']}")
    made["budgets"] = [_budget(pair, f"{path}, grid") for pair in made["budgets"]]
    return made


def _budget(pair: Any, where: str) -> Budget:
    sound = isinstance(pair, list) and len(pair) == 2
    if not sound or not all(isinstance(ratio, int | float) and 0 < ratio <= 1 for ratio in pair):
        raise UsageError(f"{where}: a budget is [sample_ratio, token_ratio], got {pair}")
    return Budget(*map(float, pair))


def _means(name: str, some: list[Any], data: Mapping[str, Data], path: Path) -> tuple[str, ...]:
    unknown = [one for one in some if not isinstance(one, str) or one not in data]
    if unknown or not some:
        raise UsageError(f"{path}, means, {name}: name data of this grid, got {some}")
    return tuple(some)


def _reference(name: str, pair: Any, methods: Mapping[str, Method], path: Path) -> Budget | None:
    if name not in methods:
        raise UsageError(f"{path}, references: no method {name}")
    return None if pair is None else _budget(pair, f"{path}, references, {name}")


def _evaluation(given: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    keys = ("data_dir", "num_fewshot", "batch_size", "apply_chat_template")
    _known(given, keys, f"{path}, evaluation")
    if "data_dir" in given:
        return {**given, "data_dir": _path(str(given["data_dir"]), path)}
    return given


def _known(given: Mapping[str, Any], keys: Any, where: str) -> None:
    unknown = [key for key in given if key not in keys]
    if unknown:
        raise UsageError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(keys)}")


def _many(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _path(name: str, beside: Path) -> str:
    """A path relative to the YAML file, if there is something; else as it is (a Hub id)."""
    path = path_of(beside.parent / path_of(name, str(beside)), str(beside))
    return str(path.resolve()) if path.exists() else name
