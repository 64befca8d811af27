"""gunicorn's settings for the API, from the project's directory:

    python -m gunicorn --config api/gunicorn.py --worker-class gthread --workers 2 --threads 8 'api:create_app()'

Its workers share their metrics through files in PROMETHEUS_MULTIPROC_DIR, a directory that is made for them unless the
variable names one, and its own messages are written as the API writes its: see LOG_LEVEL and LOG_FORMAT. New code needs
a restart: a reload (HUP) keeps what the master has imported.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
OURS = "billing-metrics-"
# What prometheus_client keeps there.
FILES = "*.db"

# It must be set before prometheus_client is imported, by whomever: it decides at that moment how values are kept.
if not os.environ.get(DIRECTORY):
    os.environ[DIRECTORY] = tempfile.mkdtemp(prefix=OURS)

control_socket_disable = True
# What is wrong with the setting, the app says. At debug, gunicorn would tell of each path as it came.
loglevel = os.environ.get("LOG_LEVEL", "").lower()
loglevel = loglevel if loglevel in ("warning", "error") else "info"
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"()": "api.logs.Lines", "kind": os.environ.get("LOG_FORMAT", "").lower()}},
    "root": {"level": loglevel.upper(), "handlers": ["stderr"]},
    "loggers": {"gunicorn.error": {"handlers": [], "propagate": True}},
}


def on_starting(server: Any) -> None:
    """Forget what another master counted."""
    directory = Path(os.environ[DIRECTORY])
    directory.mkdir(parents=True, exist_ok=True)
    for file in directory.glob(FILES):
        file.unlink()


def child_exit(server: Any, worker: Any) -> None:
    """A dead worker's gauges count no more; its counters do."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)


def on_exit(server: Any) -> None:
    """Leave nothing behind."""
    if Path(os.environ[DIRECTORY]).name.startswith(OURS):
        shutil.rmtree(os.environ[DIRECTORY], ignore_errors=True)
