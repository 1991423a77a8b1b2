"""How the verdicts of a doctor are printed."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

import click

from durable_streams_server._cli._diagnosis import Finding, Level

EXIT_ILL = 1


def tell_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print them, and exit with 1 when something is wrong."""
    for finding in findings:
        click.echo(json.dumps(asdict(finding)) if as_json else _text(finding))
    if any(finding.level is Level.FAIL for finding in findings):
        sys.exit(EXIT_ILL)


def _text(finding: Finding) -> str:
    line = f"{finding.level:<5} {finding.check:<14} {finding.text}"
    return f"{line}\n{'':<20} -> {finding.remedy}" if finding.remedy else line
