"""The grid of a comparison: its YAML file, and the cells of which it consists."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from ..arguments import PruningArguments
from ..errors import UsageError
from ..io.yaml_files import read_yaml, refuse_code
from .grid_paths import file_path, model_path, with_paths
from .grid_values import check_exact_match, check_values, mapping
from .method import SAME, Method, check_fewer_steps, check_method
from .other_rows import OtherRows, other_rows


@dataclass(frozen=True)
class Data:
    """Rows to train on and to evaluate with.

    Attributes:
        name: Name in tables and plots.
        train: JSON Lines files with ``prompt`` and ``completion``.
        held_out: JSON Lines files for answer NLL and calibration.
        train_rows: Number of training rows, drawn by ``row_seed`` whatever the run's seed; None
            for all.
        held_out_rows: Number of held-out rows, drawn by ``row_seed``; None for all.
        row_seed: Seed of the draw of rows.
        prompt_end: Text appended to every prompt, so that no token spans prompt and completion.
        shuffled: Share of the rows whose completions change places: noise at known rows.
        record: Keys of ``meta`` whose values are counted by quadrant; "shuffled" is one of them.
        training: Fields of ``QTuningConfig``.
        lora: Fields of peft's ``LoraConfig``; None trains all weights.
        tasks: Tasks to evaluate on, see ``qtuning evaluate``.
        task_limit: Number of questions of each task, from the first on; None for all.
        score: Metrics ``task:metric`` or ``task:metric,filter`` whose mean is the score.
        forgetting: Held-out rows of other settings, or files, whose NLL is measured before and
            after training.
        exact_match: Options of ``evaluation.exact_match``: let the model answer held-out rows, and
            compare the final numbers. The scores are ``held_out:exact_match,strict-match`` and
            ``held_out:exact_match,flexible-extract``. None generates nothing.
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
    forgetting: tuple[OtherRows, ...] = ()
    exact_match: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "Data":
        """The data of ``dataclasses.asdict``, also after a way through JSON."""
        others = tuple(map(OtherRows.of, plain["forgetting"]))
        return cls(**{**plain, "forgetting": others})

    @property
    def held_out_draw(self) -> OtherRows:
        """The held-out rows, as other settings name them."""
        return OtherRows(
            self.name, self.held_out, self.held_out_rows, self.row_seed, self.prompt_end
        )


@dataclass(frozen=True)
class Budget:
    """A budget: the shares of samples, and of tokens of kept samples, that a run keeps."""

    sample_ratio: float
    token_ratio: float

    @property
    def name(self) -> str:
        """The two ratios in percent, for example "12.5% x 50%"."""
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
        """Readable name of the cell, unique within a grid."""
        budget = "" if self.budget is None else f", {self.budget.name}"
        return f"{self.model}, {self.data.name}: {self.method.name}{budget}, seed {self.seed}"

    @property
    def share_of_rows(self) -> float | None:
        """Share of the rows that is kept before training; None if all are trained on."""
        ratio = self.method.data_ratio
        if ratio == SAME:
            return None if self.budget is None else self.budget.sample_ratio
        return None if ratio is None else float(ratio)


@dataclass(frozen=True)
class Grid:
    """A comparison: models, data sets, methods and the combinations of them to run.

    Attributes:
        models: Folder or Hub id of each model by name.
        data: Data sets by name.
        methods: Methods by name.
        training: Fields of ``QTuningConfig`` for all data sets.
        blocks: Lists of models, data sets, methods, budgets and seeds; each block is their product.
        evaluation: Arguments of ``evaluation.run_tasks`` for all data sets.
        means: Name of each table of means, and the data sets that it averages.
        references: Methods with which others are compared in addition to ``random-random`` and
            ``full``, with a budget: methods at all budgets are compared with the reference at
            this budget. None compares at equal budgets.
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
        """Return all cells once, ordered by seed: a partial run is a study of fewer seeds."""
        by_name: dict[str, Cell] = {}
        for block in self.blocks:
            for cell in self._of_block(block):
                by_name.setdefault(cell.name, cell)
        return sorted(by_name.values(), key=lambda cell: cell.seed)

    def _of_block(self, block: Mapping[str, Any]) -> Iterator[Cell]:
        first = block["seeds"][0]
        for seed, model, data, name in product(
            block["seeds"], block["models"], block["data"], block["methods"]
        ):
            method = self.methods[name]
            if not method.train and seed != first:
                continue  # an untrained model has the same result for every seed
            for budget in block["budgets"] if method.train and method.budgeted else [None]:
                yield Cell(model, self.data[data], method, budget, seed)


_KEYS = ("models", "data", "methods", "training", "grid", "evaluation", "means", "references")


def read_grid(path: Path, *, own_code: bool = False) -> Grid:
    """Read a grid's YAML; paths in it are relative to the file.

    Args:
        path: The YAML file.
        own_code: Whether the file may name code to run: custom pruners, kernels, remote code.

    Raises:
        UsageError: The file cannot be read, a key in it is unknown or missing, a value has the
            wrong type, or the file names code although ``own_code`` is False.
    """
    content = read_yaml(path, "--config")
    if not own_code:
        refuse_code(content, path, "pass --own_code if you trust it")
    _check_keys(content, _KEYS, str(path))
    for key in ("models", "data", "methods", "grid"):
        if not content.get(key):
            raise UsageError(f"--config {path}: {key} is missing or empty")
    for key in ("models", "data", "methods", "training", "evaluation", "means", "references"):
        mapping(content.get(key), f"{path}, {key}")
    if not isinstance(content["grid"], list):
        raise UsageError(f"{path}, grid: must be a list of blocks")
    data = {name: _data(name, entry or {}, path) for name, entry in content["data"].items()}
    draws = {name: one.held_out_draw for name, one in data.items()}
    for name, entry in content["data"].items():
        names = tuple(map(str, _many((entry or {}).get("forgetting"))))
        others = other_rows(names, draws[name], draws, path)
        data[name] = replace(data[name], forgetting=others)
    methods = {name: _method(name, entry or {}, path) for name, entry in content["methods"].items()}
    for method in methods.values():
        check_method(method, methods, f"{path}, methods: {method.name}")
    grid = Grid(
        models={name: model_path(str(entry), path) for name, entry in content["models"].items()},
        data=data,
        methods=methods,
        training=with_paths(content.get("training") or {}, path),
        blocks=tuple(_block(block, content, path) for block in content["grid"]),
        evaluation=_evaluation(content.get("evaluation") or {}, path),
        means={
            name: _means(name, _many(names), data, path)
            for name, names in (content.get("means") or {}).items()
        },
        references={
            name: _reference(name, pair, methods, path)
            for name, pair in (content.get("references") or {}).items()
        },
    )
    for cell in grid.cells():
        if cell.method.data_ratio is not None:
            training = {**grid.training, **cell.data.training}
            check_fewer_steps(training, f"{path}, data: {cell.data.name}")
    return grid


def _data(name: str, entry: Mapping[str, Any], path: Path) -> Data:
    where = f"{path}, data: {name}"
    entry = mapping(entry, where)
    _check_keys(entry, [field_of_data.name for field_of_data in fields(Data)], where)
    if not entry.get("train"):
        raise UsageError(f"{where}: train is missing; name the JSON Lines files")
    values = dict(entry)
    for key in ("train", "held_out"):
        values[key] = tuple(file_path(str(file), path) for file in _many(entry.get(key)))
    for key in ("record", "tasks", "score"):
        values[key] = tuple(_many(entry.get(key)))
    values.pop("forgetting", None)  # read once all settings are known
    check_values(Data, values, where)
    if values.get("exact_match") is not None:
        check_exact_match(values["exact_match"], f"{where}: exact_match")
        if not values["held_out"]:
            raise UsageError(f"{where}: exact_match asks held_out rows, and there are none")
    values["training"] = with_paths(values.get("training", {}), path)
    return Data(**{**values, "name": name})


def _method(name: str, entry: Mapping[str, Any], path: Path) -> Method:
    own_fields = {one.name for one in fields(Method)} - {"name", "pruning"}
    where = f"{path}, methods: {name}"
    entry = mapping(entry, where)
    pruning_fields = [argument.name for argument in fields(PruningArguments)]
    _check_keys(entry, [*own_fields, *pruning_fields], where)
    own = {key: value for key, value in entry.items() if key in own_fields}
    check_values(Method, own, where)
    pruning = {key: value for key, value in entry.items() if key not in own_fields}
    return Method(name, with_paths(pruning, path), **own)


def _block(block: Mapping[str, Any], content: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    keys = ("models", "data", "methods", "budgets", "seeds")
    _check_keys(mapping(block, f"{path}, grid"), keys, f"{path}, grid")
    lists = {key: _many(block.get(key)) for key in keys}
    for key in ("models", "data", "methods"):
        lists[key] = lists[key] or list(content[key])
        for name in lists[key]:
            if not isinstance(name, str) or name not in content[key]:
                raise UsageError(f"{path}, grid: no {name} under {key}")
    for key in ("budgets", "seeds"):
        if not lists[key]:
            raise UsageError(f"{path}, grid: {key} is missing")
    if not all(isinstance(seed, int) for seed in lists["seeds"]):
        raise UsageError(f"{path}, grid: seeds are integers, got {lists['seeds']}")
    lists["budgets"] = [_budget(pair, f"{path}, grid") for pair in lists["budgets"]]
    return lists


def _budget(pair: Any, where: str) -> Budget:
    is_pair = isinstance(pair, list) and len(pair) == 2
    if not is_pair or not all(isinstance(ratio, int | float) and 0 < ratio <= 1 for ratio in pair):
        raise UsageError(f"{where}: a budget is [sample_ratio, token_ratio], got {pair}")
    return Budget(*map(float, pair))


def _means(name: str, names: list[Any], data: Mapping[str, Data], path: Path) -> tuple[str, ...]:
    unknown = [member for member in names if not isinstance(member, str) or member not in data]
    if unknown or not names:
        raise UsageError(f"{path}, means, {name}: name data of this grid, got {names}")
    return tuple(names)


def _reference(name: str, pair: Any, methods: Mapping[str, Method], path: Path) -> Budget | None:
    if name not in methods:
        raise UsageError(f"{path}, references: no method {name}")
    return None if pair is None else _budget(pair, f"{path}, references, {name}")


def _evaluation(settings: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    keys = ("data_dir", "num_fewshot", "batch_size", "apply_chat_template")
    _check_keys(settings, keys, f"{path}, evaluation")
    if "data_dir" in settings:
        return {**settings, "data_dir": file_path(str(settings["data_dir"]), path)}
    return settings


def _check_keys(entry: Mapping[str, Any], keys: Any, where: str) -> None:
    unknown = [key for key in entry if key not in keys]
    if unknown:
        raise UsageError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(keys)}")


def _many(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
