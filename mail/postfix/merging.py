"""Our values of parameters that an existing Postfix has set too: nothing that it had is taken away.

Of two limits the stricter one holds, of two lists everything that is in either. What it allows or does to
other people's mail beyond that (SMTPUTF8, conversion to 7 bits, folded lines) stays as it is.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from mail.postfix.parameters import PRIVACY, Parameter
from mail.postfix.running import Parameters, split_list

# These would change other people's mail: clients without HELO, and warnings about delayed mail. None of them
# can reveal a destination: what waits for one has an envelope sender of ours.
_LEFT_ALONE = frozenset({"delay_warning_time", "notify_classes", "smtpd_helo_required"})
# What smtpd_forbid_bare_newline can say, the stricter later (postconf(5)).
_BARE_NEWLINE = ("no", "note", "normalize", "yes", "reject")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
# ${stress?{then}:{else}}, ${stress?then} and ${stress:else} (STRESS_README).
_STRESS = re.compile(r"\$\{stress(?:\?\{?([^{}]*)\}?)?(?::\{?([^{}]*)\}?)?\}")


def privacy(there: Parameters) -> list[Parameter]:
    """What keeps senders from learning about addresses, merged with what is there."""
    return [_merged(parameter, there) for parameter in PRIVACY if parameter.name not in _LEFT_ALONE]


def _merged(parameter: Parameter, there: Parameters) -> Parameter:
    merge = _RULES.get(parameter.name)
    return replace(parameter, value=merge(there, parameter)) if merge else parameter


def _both(there: Parameters, ours: Parameter) -> str:
    theirs = there.written(ours.name, lambda _entry: False)
    return ", ".join(dict.fromkeys([*theirs, *split_list(ours.value)]))


def _stricter_newline(there: Parameters, ours: Parameter) -> str:
    known = [value for value in (ours.value, there[ours.name]) if value in _BARE_NEWLINE]
    return max(known, key=_BARE_NEWLINE.index)


def _limit(stricter: Callable[[int, int], int]) -> Callable[[Parameters, Parameter], str]:
    def merge(there: Parameters, ours: Parameter) -> str:
        written = there.as_written(ours.name)
        limits = [_number(_under(there.expanded(written), stress)) for stress in (False, True)]
        own = _number(ours.value)
        if own is None or None in limits:
            # Written in a way that we do not understand: on purpose.
            return written
        calm, stressed = (stricter(limit, own) for limit in limits if limit is not None)
        if [calm, stressed] == limits:
            return written
        if calm == stressed == own:
            return ours.value
        return f"${{stress?{{{stressed}}}:{{{calm}}}}}" if calm != stressed else str(calm)

    return merge


def _under(value: str, stress: bool) -> str:
    return _STRESS.sub(lambda found: found[1 if stress else 2] or "", value)


def _number(value: str) -> int | None:
    found = re.fullmatch(r"(\d+)([smhdw]?)", value.strip())
    return int(found[1]) * _SECONDS[found[2]] if found else None


_RULES: dict[str, Callable[[Parameters, Parameter], str]] = {
    "smtpd_discard_ehlo_keywords": _both,
    "smtpd_etrn_restrictions": _both,
    "smtpd_forbid_bare_newline": _stricter_newline,
    "smtpd_soft_error_limit": _limit(min),
    "smtpd_hard_error_limit": _limit(min),
    "smtpd_error_sleep_time": _limit(max),
}
