from ..inspection.conftest import chat, plain  # noqa: F401 - fixtures
from ..offline.conftest import _one_thread_everywhere, model, rows, scores  # noqa: F401 - fixtures
