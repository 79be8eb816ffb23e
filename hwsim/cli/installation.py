"""The command that tries what an installation can do."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hwsim.cli.console import CheckFailed, Progress, print_json
from hwsim.cli.options import Json


def doctor(
    groups: Annotated[
        list[str] | None,
        typer.Option("--group", help="Only core, rtl, test, hls, train or gpu; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which engines and tools work here, by running each on something tiny.

    Status 0 where all of the named groups work; without --group, where the core does.
    """
    from hwsim.doctor.checks import CORE, examine

    with Progress("trying engines and tools") as progress:
        tried: list[str] = []

        def done(check: Any) -> None:
            tried.append(check.name)
            progress.update(f"tried {', '.join(tried)}")

        checks = examine(groups, done=done)
    needed = [c for c in checks if groups or c.group == CORE]
    ok = all(check.works for check in needed)
    if as_json:
        print_json({"ok": ok, "checks": [check.as_dict() for check in checks]})
    else:
        from hwsim.cli.tables import show_checks

        show_checks(checks)
    if not ok:
        broken = ", ".join(check.name for check in needed if not check.works)
        raise CheckFailed(f"every needed tool must work, and not fail as {broken}")
