"""Our form of Ray Serve's policy decides as the code of the installed Ray does, step by step."""

import random
from typing import Any

import pytest

from llama_operator.replay.baselines import ray as ours

pytestmark = [pytest.mark.serving, pytest.mark.filterwarnings("ignore")]

pytest.importorskip("ray", reason="needs the serving environment")


class Context:
    """What Ray's functions read of an AutoscalingContext."""

    def __init__(self, config: Any, *, requests: float, running: int, target: int, state: dict[str, Any]) -> None:
        self.config = config
        self.total_num_requests = requests
        self.current_num_replicas = running
        self.target_num_replicas = target
        self.policy_state = state


def decided(context: Context, now: float) -> tuple[int, dict[str, Any]]:
    """Ray's steps in the order of its wrapper, which alone asks the clock and so cannot be called at another time."""
    from ray.serve import autoscaling_policy as theirs

    cold = theirs._get_cold_start_scale_up_replicas(context)
    if cold is not None:
        return cold, context.policy_state
    wanted, _ = theirs._core_replica_queue_length_policy(context)
    scaled = theirs._apply_scaling_factors(wanted, context.current_num_replicas, context.config)
    if context.current_num_replicas == 0 and scaled > 0:
        return scaled, context.policy_state
    number, state = theirs._apply_delay_logic(
        max(0, scaled), context.target_num_replicas, context.config, context.policy_state, now
    )
    return int(number), dict(state)


@pytest.mark.parametrize("seed", range(40))
def test_the_same_number_at_every_step(seed: int) -> None:
    from ray.serve.config import AutoscalingConfig

    draw = random.Random(seed)
    settings = ours.Settings(
        target=draw.choice([1.0, 2.0, 6.8]),
        up_delay=draw.choice([0.0, 5.0, 30.0]),
        down_delay=draw.choice([0.0, 20.0, 60.0]),
        zero_delay=draw.choice([None, 10.0]),
        up_factor=draw.choice([1.0, 2.5]),
        down_factor=draw.choice([1.0, 0.3]),
    )
    config = AutoscalingConfig(
        min_replicas=0,
        max_replicas=1000,
        target_ongoing_requests=settings.target,
        upscale_delay_s=settings.up_delay,
        downscale_delay_s=settings.down_delay,
        downscale_to_zero_delay_s=settings.zero_delay,
        upscaling_factor=settings.up_factor,
        downscaling_factor=settings.down_factor,
    )
    state: dict[str, Any] = {}
    delay = ours.Delay()
    target = running = 3
    requests = 6.0
    seen: set[int] = set()
    for second in range(600):
        if draw.random() < 0.05:
            requests = draw.choice([0.0, 1.0, 4.0, 25.0, 100.0])
        running += (target > running) - (target < running)
        context = Context(config, requests=requests, running=running, target=target, state=state)
        expected, state = decided(context, float(second))
        number, delay = ours.step(settings, delay, requests=requests, running=running, target=target, now=float(second))
        assert number == expected, f"second {second}"
        target = number
        seen.add(target)
    assert len(seen) > 3
