"""The plugin for Axolotl: ``plugins: [qtuning.integrations.axolotl.QTuningPlugin]``.

Only Axolotl loads this module, before it builds its training arguments. The trainer, whose base
needs those, is in a module of its own.
"""

from typing import Any

from axolotl.integrations.base import BasePlugin, PluginManager
from pydantic import BaseModel

from ..errors import UsageError
from ..training.mixin import PruningMixin
from .axolotl_config import check_config, check_resolved, options_of
from .one_line import ending_in_one_line


class QTuningInput(BaseModel):
    """What the plugin adds to Axolotl's config; ``QTuningPlugin.register`` checks what is in it.

    Attributes:
        qtuning: Options of pruning, by the names of ``PruningArguments``.
    """

    qtuning: dict[str, Any] | None = None


class QTuningPlugin(BasePlugin):
    """Makes Axolotl's supervised fine-tuning prune, by the options in the block ``qtuning``.

    What cannot be pruned ends the program with one line on stderr and exit code 2.
    """

    def register(self, cfg: dict[str, Any]) -> None:
        """Check the config as the user wrote it: Axolotl itself ignores keys that it lacks."""
        with ending_in_one_line():
            check_config(cfg)

    def get_input_args(self) -> str:
        """The class of the config's keys, by its dotted name."""
        return f"{__name__}.{QTuningInput.__name__}"

    def get_training_args_mixin(self) -> str:
        """The class of the training arguments, by its dotted name."""
        return "qtuning.arguments.PruningArguments"

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        """The options of the block ``qtuning``, and a mean over the tokens of all ranks.

        Axolotl averages the means of ranks; after pruning, these have very different numbers of
        tokens.
        """
        return {**options_of(cfg), "average_tokens_across_devices": True}

    def get_trainer_cls(self, cfg: Any) -> type[PruningMixin]:
        """The trainer that prunes; the config is whole by now, with defaults and what follows."""
        with ending_in_one_line():
            check_resolved(cfg)
            for name, plugin in PluginManager.get_instance().plugins.items():
                if plugin is not self and plugin.get_trainer_cls(cfg) is not None:
                    raise UsageError(
                        f"the plugin {name} brings a trainer of its own, and a run has only one: "
                        f"take {name} out of plugins, or QTuningPlugin"
                    )
        from .axolotl_trainer import QTuningAxolotlTrainer

        return QTuningAxolotlTrainer

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        """Check that the trainer prunes: a plugin that stands before this one may bring another."""
        with ending_in_one_line():
            if not isinstance(trainer, PruningMixin):
                raise UsageError(
                    f"the trainer is a {type(trainer).__name__} of another plugin, which would "
                    "not prune: take that plugin out of plugins, or QTuningPlugin"
                )
