"""Hooks of a function that is initialised once and forked for each instance (`snapshot: init`), as AWS
Lambda's SnapStart has them: what was registered to run before the snapshot runs last first, what was
registered to run after it runs in its order. Each can also be used as a decorator."""

_before_snapshot = []
_after_restore = []


def register_before_snapshot(func, *args, **kwargs):
    """`func` runs at the end of the initialisation, before the first instance is forked."""
    _before_snapshot.append((func, args, kwargs))
    return func


def register_after_restore(func, *args, **kwargs):
    """`func` runs in each instance, before its first call."""
    _after_restore.append((func, args, kwargs))
    return func


def get_before_snapshot():
    return _before_snapshot


def get_after_restore():
    return _after_restore
