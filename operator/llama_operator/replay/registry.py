"""Policies by name: ``ours``, ``formula``, ``knative``, ``hpa``, ``keda``, ``ray``, ``static:N``.

``knative:stable=300`` sets one of its settings.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from llama_operator.plan.autoscaling.inputs import Limits
from llama_operator.replay.baselines import hpa, keda, knative, ray
from llama_operator.replay.ours import formula, ours
from llama_operator.replay.parameters import Parameters
from llama_operator.replay.policy import Maker, Policy, Static

Settings = Mapping[str, float]
#: The operator's own, which have no settings to search for.
OURS = ("ours", "formula")


class BadPolicyError(Exception):
    """There is no such policy or setting; the text says which there are."""


def _ours(parameters: Parameters, initial: int, settings: Settings) -> Policy:
    return ours(parameters, initial, **settings)


def _formula(parameters: Parameters, initial: int, settings: Settings) -> Policy:
    return formula(parameters, initial, **settings)


def _knative(parameters: Parameters, initial: int, settings: Settings) -> Policy:
    return knative.Knative(parameters, knative.Settings(**settings), initial)


def _hpa(parameters: Parameters, initial: int, settings: Settings) -> Policy:
    return hpa.Hpa(parameters, hpa.Settings(**_whole(settings, "up_pods")), initial)


def _keda(parameters: Parameters, initial: int, settings: Settings) -> Policy:
    return keda.Keda(parameters, keda.Settings(**settings), initial)


def _ray(parameters: Parameters, _initial: int, settings: Settings) -> Policy:
    return ray.Ray(parameters, ray.Settings(**settings))


def _static(_parameters: Parameters, _initial: int, settings: Settings) -> Policy:
    return Static(int(settings["groups"]))


def _whole(settings: Settings, name: str) -> dict[str, Any]:
    return {key: int(value) if key == name else value for key, value in settings.items()}


_MAKERS: dict[str, tuple[Callable[[Parameters, int, Settings], Policy], tuple[str, ...]]] = {
    "ours": (_ours, ("share", "memory")),
    "formula": (_formula, tuple(one.name for one in fields(Limits) if one.name not in ("floor", "ceiling", "slots"))),
    "knative": (_knative, tuple(one.name for one in fields(knative.Settings))),
    "hpa": (_hpa, tuple(one.name for one in fields(hpa.Settings))),
    "keda": (_keda, tuple(one.name for one in fields(keda.Settings))),
    "ray": (_ray, tuple(one.name for one in fields(ray.Settings))),
    "static": (_static, ("groups",)),
}


def parse(text: str) -> tuple[str, dict[str, float]]:
    """Parse name and settings of a policy as it is written on the command line."""
    name, *rest = text.split(":")
    if name not in _MAKERS:
        raise BadPolicyError(f"policy {name!r} is not known; there are {', '.join(_MAKERS)}")
    known = _MAKERS[name][1]
    if name == "static":
        rest = [one if "=" in one else f"groups={one}" for one in rest]
        if not rest:
            raise BadPolicyError("policy static needs its number of groups, as in static:8")
    settings: dict[str, float] = {}
    for one in rest:
        key, _, value = one.partition("=")
        if key not in known:
            raise BadPolicyError(f"policy {name} has no setting {key!r}; there are {', '.join(known)}")
        try:
            settings[key] = float(value)
        except ValueError:
            raise BadPolicyError(f"policy {text}: {key} must be a number, it is {value!r}") from None
        if not 0 <= settings[key] < float("inf"):
            raise BadPolicyError(f"policy {text}: {key} must be 0 or more")
    return name, settings


def maker(name: str, settings: Settings) -> Maker:
    """Return what makes the policy with these settings for a deployment."""
    make = _MAKERS[name][0]
    return lambda parameters, initial: make(parameters, initial, settings)


def written(name: str, settings: Settings) -> str:
    """Write name and settings as ``parse`` reads them."""
    if name == "static":
        return f"static:{settings['groups']:g}"
    return ":".join([name, *(f"{key}={value:g}" for key, value in settings.items())])
