"""Sentences about LoRA adapters: which are left out and why, and how far the others are."""


def left_out(name: str, *, why: str) -> str:
    return f"adapter {name} is left out: {why}"


def missing(*, adapter: str, namespace: str) -> str:
    return f"there is no LlamaAdapter {adapter} in namespace {namespace}: apply it, or remove it from spec.adapters"


def not_resolved(adapter: str) -> str:
    return f"LlamaAdapter {adapter} is not resolved yet"


def name_taken(*, adapter: str, by: str) -> str:
    return (
        f"its name is that of {by}: give LlamaAdapter {adapter} another one with the annotation "
        "llama-operator.dev/served-name, or list it in spec.adapters under another"
    )


def name_unusable(name: str) -> str:
    return (
        f"the annotation llama-operator.dev/served-name is {name[:128]!r}, which is no name in the OpenAI API: use "
        "letters, digits and ._:/-, at most 128, and begin with a letter or digit"
    )


def on_other_claim(*, adapter: str, claim: str, mounted: str) -> str:
    has = f"the stage pods mount {mounted}" if mounted else "the stage pods mount no claim of a model"
    return (
        f"LlamaAdapter {adapter} lies on claim {claim}, {has}, and a running pod gets no other volume: put it there, "
        "or at a source that is downloaded, such as s3:// or hf://"
    )


def other_credentials(*, adapter: str, secret: str, mounted: str) -> str:
    has = f"the stage pods have {mounted}" if mounted else "the stage pods have none"
    return (
        f"LlamaAdapter {adapter} needs the credentials of Secret {secret}, {has}, and a running pod gets no other: put "
        "the keys of both into one Secret, and name it in model.credentialsSecret too"
    )


def other_account(*, adapter: str, account: str, has: str) -> str:
    runs = f"the stage pods run as {has}" if has else "the stage pods run as an account without rights"
    return (
        f"LlamaAdapter {adapter} is read as ServiceAccount {account}, and {runs}: name the same account in "
        "model.serviceAccountName"
    )


def rank_too_high(*, rank: int, most: int, remedy: int) -> str:
    return (
        f"its rank is {rank}, and the engines have room for ranks up to {most}: set spec.adapterLimits.maxRank to "
        f"{remedy}, which replaces the groups one after the other"
    )


def comes_when_asked_for() -> str:
    return "no group holds it now: a request for it has it loaded; spec.adapterLimits.held says how many a group holds"


def no_room_yet(group: int) -> str:
    return f"group {group} was made without room for it and is replaced"


def too_few_layers(*, layers: int, base: int) -> str:
    return f"it has matrices for layer {layers - 1}, and the base has {base} layers: it was trained on another model"


def other_vocabulary(*, tokens: int, base: int) -> str:
    return (
        f"the tokenizer beside it has token {tokens - 1}, and the base has {base} tokens: added tokens are not served; "
        "train with the base's own, such as its reserved ones, and take added_tokens.json out"
    )


def other_shape(module: str, *, half: str, has: tuple[int, int], wants: tuple[int, int]) -> str:
    return (
        f"its lora_{half} of {module} is {has[0]} x {has[1]}, and the base needs {wants[0]} x {wants[1]}: it was "
        "trained on another model"
    )


def loading(name: str, *, ready: int, groups: int, said: str) -> str:
    return f"adapter {name}: {ready} of {groups} groups have it{said and f'; {said}'}"


def resolving(name: str, *, said: str) -> str:
    return f"adapter {name}: {said}"


def group_says(group: int, said: str) -> str:
    return f"group {group}: {said}"


def waits_for_group() -> str:
    return "no group serves yet"


def not_asked_yet(group: int) -> str:
    return f"group {group} is told of it"


def refused_by_group(name: str, *, group: int, said: str) -> str:
    return f"adapter {name} is left out of group {group}: {said}"


def canary_watches(name: str, *, id_: str, seconds: int) -> str:
    return (
        f"adapter {name}: one group answers with {id_}, and the others get it after {seconds} s; "
        "spec.rollout.canary says so"
    )


def canary_failed(name: str, *, former: str, why: str) -> str:
    return f"adapter {name} is {former} again on every group: {why}"


def all_ready(adapters: int) -> str:
    return "the adapter is ready" if adapters == 1 else f"{adapters} adapters are ready"


def start_waits(ordinal: int, *, ready: int, of: int, name: str, doing: str) -> str:
    """Say why a group that works gets no request yet: it has not all of its adapters."""
    now = f": {doing}" if doing else " has not begun"
    return f"group {ordinal} has {ready} of its {of} adapters and gets no request before it has all; {name}{now}"
