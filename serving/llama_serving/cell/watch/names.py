"""What the processes of a cell are called in sentences, by the title or the command line that they have."""

from dataclasses import dataclass
from typing import Final

from llama_serving.cell.entrypoints import RAY_START_MODULE


@dataclass(frozen=True)
class ProcessName:
    """Words for a process; ``outage``: no request is answered without it."""

    words: str
    outage: bool = True


REPLICA: Final = ProcessName("the replica")
ENGINE_CORE: Final = ProcessName("the engine core")
AGENT: Final = ProcessName("an agent of the raylet")
DASHBOARD: Final = ProcessName("Ray's dashboard")

#: The first whose text is in the command line. Titles are Ray's and vLLM's.
_TITLES: Final[tuple[tuple[str, ProcessName], ...]] = (
    ("ServeReplica:", REPLICA),
    ("EngineCore", ENGINE_CORE),
    ("ray::ServeController", ProcessName("Serve's controller", outage=False)),
    ("ray::IDLE", ProcessName("a spare process of Ray", outage=False)),
    ("ray::DashboardAgent", AGENT),
    ("ray::RuntimeEnvAgent", AGENT),
    ("ray::Dashboard", DASHBOARD),
    ("ray-dashboard", DASHBOARD),
    ("ray::", ProcessName("a worker process of Ray")),
    ("forkserver", ProcessName("the fork server of the engine core", outage=False)),
    ("resource_tracker", ProcessName("Python's resource tracker", outage=False)),
    ("gcs_server", ProcessName("Ray's GCS")),
    ("raylet/raylet", ProcessName("the raylet")),
    ("runtime_env/agent", AGENT),
    ("dashboard/agent", AGENT),
    ("dashboard/dashboard.py", DASHBOARD),
    (RAY_START_MODULE, ProcessName("ray start")),
)


def process_name(command: str, *, program: str) -> ProcessName:
    """Return the words for a process; ``program``: its short name, for those that nobody knows.

    An unknown one is ended too, but the engine is not: if it needed that process, it shows that by itself.
    """
    return next(
        (name for text, name in _TITLES if text in command), ProcessName(f"the process {program}", outage=False)
    )
