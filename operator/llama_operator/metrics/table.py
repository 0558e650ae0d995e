"""All metrics of the operator, in one table. docs/reference/metrics.md is generated from it.

Counters begin at 0 with the process.
"""

from typing import Final

from llama_operator.metrics.autoscaling import AUTOSCALING
from llama_operator.metrics.deployments import DEPLOYMENTS
from llama_operator.metrics.registry import OperatorState
from llama_serving.config.metrics import Metric

METRICS: Final[tuple[Metric[OperatorState], ...]] = (*DEPLOYMENTS, *AUTOSCALING)
