"""Reads `ip xfrm state` and `ip xfrm policy` commands (ip-xfrm(8)) into the model."""

import dataclasses

from .model import Policy, Selector, State, Template, Unsupported, prefix_of

ESP_NAMES = ("esp", "50")
SELECTOR_WORDS = ("src", "dst", "proto", "sport", "dport", "type", "code", "dev", "key")
FLAGS = ("noecn", "decap-dscp", "nopmtudisc", "dont-encap-dscp", "af-unspec", "esn", "icmp", "wildrecv",
         "align4", "oseq-may-wrap")
NUMBERS = ("replay-seq", "replay-oseq", "replay-seq-hi", "replay-oseq-hi")
ICV_BITS = {"sha1": 96, "sha256": 96, "sha384": 192, "sha512": 256, "digest_null": 0}  # what `auth` gives


def run(gateway, words):
    """Runs one `ip xfrm` command, from the word behind `xfrm` on."""
    what, verb = words.take(), words.take() if words else "list"
    if verb in ("list", "show", "lst", "get", "count"):
        return None
    if what.startswith("s"):
        return _state(gateway, verb, words)
    if what.startswith("p"):
        return _policy(gateway, verb, words)
    raise Unsupported(f"ip xfrm {what}")


def hash_name(text):
    """"hmac(sha256)" is "sha256"."""
    return text.removeprefix("hmac(").removesuffix(")")


def _mark(words):
    value = words.number()
    if words.take_if("mask") and words.number() != 0xffffffff:
        raise Unsupported("marks with a mask")
    return value


def _selector(words):
    found = Selector()
    names = {"proto": "protocol", "dev": "link"}
    while words.peek() in SELECTOR_WORDS:
        word = words.take()
        if word == "key":
            raise Unsupported("a selector with a GRE key")
        value = words.take()
        setattr(found, names.get(word, word), prefix_of(value) if word in ("src", "dst") else value)
    for mine, other in (("src", "dst"), ("dst", "src")):
        if not getattr(found, mine):
            setattr(found, mine, prefix_of("any", 6 if ":" in getattr(found, other) else 4))
    return found


# ---- states ------------------------------------------------------------------------------------


def _state(gateway, verb, words):
    if verb in ("flush", "deleteall"):
        if words:
            raise Unsupported("ip xfrm state flush with a filter")
        gateway.states = []
        return
    state = _read_state(words)
    same = [each for each in gateway.states if each.identity == state.identity]
    if verb == "add" or (verb == "update" and not same):
        gateway.states = [each for each in gateway.states if each not in same]  # those have expired
        gateway.states.append(state)
    elif verb == "update":  # Linux takes lifetimes, encapsulation and selector from it, and keeps the keys
        same[0].limits, same[0].encap, same[0].selector = state.limits, state.encap, state.selector
    elif verb in ("delete", "del"):
        gateway.states.remove(same[0])
    else:
        raise Unsupported(f"ip xfrm state {verb}")


def _read_state(words):
    state = State()
    simple = {"src": "src", "dst": "dst", "mode": "mode"}
    numbers = {"spi": "spi", "reqid": "reqid", "replay-window": "window", "if_id": "if_id"}
    while words:
        word = words.take()
        if word in simple:
            setattr(state, simple[word], words.take())
        elif word in numbers:
            setattr(state, numbers[word], words.number())
        elif word == "proto":
            if words.take() not in ESP_NAMES:
                raise Unsupported("states of other protocols than ESP")
        elif word in NUMBERS:
            state.numbers[word] = words.number()
        elif word == "seq":
            words.take()
        else:
            _read_state_group(state, word, words)
    if state.mode not in ("tunnel", "transport"):
        raise Unsupported(f"mode {state.mode}")
    return state


def _read_state_group(state, word, words):
    if word in ("flag", "extra-flag"):
        _read_flags(state, words)
    elif word == "esn":
        state.flags.append("esn")
    elif word == "sel":
        state.selector = _selector(words)
    elif word == "limit":
        name = words.take()
        state.limits[name] = words.number()
    elif word == "encap":
        state.encap = (words.take(), words.number(), words.number())
        words.take()  # the original address, which Linux does not use
        if state.encap[0] != "espinudp":
            raise Unsupported(f"encap {state.encap[0]}")
    elif word == "mark":
        state.mark = _mark(words)
    elif word == "dir":
        state.direction = words.take()
    elif word == "aead":
        state.aead = (words.take(), words.take(), words.number())
    elif word == "enc":
        state.enc = (words.take(), words.take())
    elif word in ("auth", "auth-trunc"):
        name, key = hash_name(words.take()), words.take()
        state.auth = (name, key, words.number() if word == "auth-trunc" else ICV_BITS.get(name, 0))
    else:
        raise Unsupported(f"a state with {word}")


def _read_flags(state, words):
    first = True
    while first or words.peek() in FLAGS:
        for name in words.take().split():
            if name in ("icmp", "wildrecv", "align4", "oseq-may-wrap") or name not in FLAGS:
                raise Unsupported(f"a state with flag {name}")
            state.flags.append(name)
        first = False


# ---- policies ----------------------------------------------------------------------------------


def _policy(gateway, verb, words):
    if verb in ("flush", "deleteall"):
        if words:
            raise Unsupported("ip xfrm policy flush with a filter")
        gateway.policies = []
        return
    if verb in ("set", "setdefault"):
        raise Unsupported(f"ip xfrm policy {verb}")
    policy = _read_policy(words)
    same = [each for each in gateway.policies if each.identity == policy.identity]
    if policy.index is not None:
        same = [each for each in gateway.policies if each.index == policy.index] or same
    if verb == "add" or (verb == "update" and not same):
        gateway.policies.append(policy)
    elif verb == "update":
        _replace_policy(gateway.policies, same[0], policy)
    elif verb in ("delete", "del"):
        gateway.policies.remove(same[0])
    else:
        raise Unsupported(f"ip xfrm policy {verb}")


def _replace_policy(policies, old, new):
    """A new priority makes it the youngest of that priority; otherwise it keeps its age."""
    place = policies.index(old)
    policies.remove(old)
    policies.insert(place if old.priority == new.priority else len(policies), new)


def _read_policy(words):
    policy = Policy()
    collected = []
    while words:
        word = words.take()
        if word in SELECTOR_WORDS:
            collected += [word, words.take()]
        elif word == "dir":
            policy.direction = words.take()
        elif word == "action":
            policy.action = words.take()
        elif word in ("priority", "index", "if_id"):
            setattr(policy, word, words.number())
        elif word == "mark":
            policy.mark = _mark(words)
        elif word == "tmpl":
            policy.templates.append(_read_template(words))
        elif word == "ptype" and words.peek() == "main" or word == "flag" and words.peek() == "localok":
            words.take()
        else:
            raise Unsupported(f"a policy with {word} {words.peek()}")
    policy.selector = _selector(type(words)(collected))
    return _with_family_of_templates(policy, collected)


def _with_family_of_templates(policy, collected):
    """A selector without addresses is of the templates' family."""
    if "src" not in collected and "dst" not in collected and any(":" in each.src for each in policy.templates):
        policy.selector = dataclasses.replace(policy.selector, src="::/0", dst="::/0")
    return policy


def _read_template(words):
    template = Template()
    while words.peek() in ("src", "dst", "proto", "spi", "mode", "reqid", "level"):
        word = words.take()
        if word == "proto":
            if words.take() not in ESP_NAMES:
                raise Unsupported("templates of other protocols than ESP")
        elif word in ("spi", "reqid"):
            setattr(template, word, words.number())
        else:
            setattr(template, word, words.take())
    if template.mode not in ("tunnel", "transport"):
        raise Unsupported(f"templates of mode {template.mode}")
    return template
