"""Requests of a small world: they come, wait in the gateways, run on groups that serve, and are counted."""

from dataclasses import dataclass, field

from llama_serving.config.gateway import WorkCount

PROMPT, ANSWER = 100, 50  # tokens of each


@dataclass
class Traffic:
    """A second a tick. ``lost`` stays 0 as long as nobody takes a group with requests on it away."""

    rate: int = 0  # requests that come in a second
    seconds: int = 2  # that a group needs for one
    slots: int = 4  # requests that a group runs at once
    waiting: int = 0
    running: list[int] = field(default_factory=list)  # seconds that each still needs
    uptime: float = 1.0
    waited: float = 0.0  # seconds since the queue was empty
    arrived: int = 0
    served: int = 0

    def tick(self, groups: int) -> None:
        """``groups`` serve in this second."""
        self.uptime += 1
        left = [seconds - 1 for seconds in self.running]
        self.served += sum(seconds <= 0 for seconds in left)
        self.running = [seconds for seconds in left if seconds > 0]
        self.arrived += self.rate
        self.waiting += self.rate
        begin = min(self.waiting, max(groups * self.slots - len(self.running), 0))
        self.waiting -= begin
        self.running += [self.seconds] * begin
        self.waited = self.waited + 1 if self.waiting else 0.0

    def work(self, requests: int) -> WorkCount:
        return WorkCount(
            requests=requests, prompt_tokens=PROMPT * requests, answer_tokens=ANSWER * requests,
            seconds=float(self.seconds * requests),
        )  # fmt: skip
