"""The results as tables, with the targets beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.read.load import Sample
from bench.read.servers import FLOOR, PEER, PLAIN, SERVICE
from bench.read.works import WORKS, Work

ONE_CONNECTION, MANY_CONNECTIONS = 1, 16
Results = Mapping[tuple[str, Work, int], Sample]
"""The samples, by the name of the server, the work and the number of connections."""


@dataclass(frozen=True)
class Target:
    """A target: the gate, and the stretch target."""

    gate: float
    stretch: float
    at_least: bool = False
    """True: more is better."""

    def judged(self, values: Sequence[float]) -> str:
        """Returns the verdict on values, each of which must reach the target."""
        if all(self._reaches(value, self.stretch) for value in values):
            return "stretch"
        return "yes" if all(self._reaches(value, self.gate) for value in values) else "no"

    def _reaches(self, value: float, mark: float) -> bool:
        return value >= mark if self.at_least else value <= mark


SERVER_CPU = {"postgresql": Target(1.3, 0.8), "sqlite": Target(1.5, 1.0)}
ALL_CPU = Target(1.3, 1.0)
RATE = Target(1.3, 2.0, at_least=True)
HELD_MS = Target(15, 5)
COLD = Target(2, 1)


def comparison(results: Results) -> str:
    """Returns the table of processor time and requests per second, a row for each work and figure."""
    names = [name for name in (FLOOR, SERVICE, PEER, PLAIN) if (name, WORKS[0], MANY_CONNECTIONS) in results]
    rows = [_row(["", *names]), _row(["---"] * (len(names) + 1))]
    for work in WORKS:
        many = {name: results[name, work, MANY_CONNECTIONS] for name in names}
        one = {name: results[name, work, ONE_CONNECTION] for name in names}
        title = f"({work.letter}) {work.title}: server CPU, ms"
        rows.append(_row([title, *_ratios([many[name].server_ms for name in names])]))
        if many[FLOOR].database_cpu:
            title = f"({work.letter}) server + PostgreSQL CPU, ms"
            rows.append(_row([title, *_ratios([many[name].all_ms for name in names])]))
        rates = [f"{many[name].rate:,.0f}" for name in names]
        rows.append(_row([f"({work.letter}) requests/s, {MANY_CONNECTIONS} connections", *rates]))
        rates = [f"{one[name].rate:,.0f}" for name in names]
        rows.append(_row([f"({work.letter}) requests/s, {ONE_CONNECTION} connection", *rates]))
    return "\n".join(rows)


def targets(dialect: str, results: Results, held_ms: float, cold: tuple[float, float]) -> str:
    """Returns the table of targets."""

    def many(name: str) -> list[Sample]:
        return [results[name, work, MANY_CONNECTIONS] for work in WORKS]

    service, floor = many(SERVICE), many(FLOOR)
    server = [own.server_ms / least.server_ms for own, least in zip(service, floor, strict=True)]
    found = [("server CPU ÷ floor's, (a) (b) (c)", server, SERVER_CPU[dialect])]
    if floor[0].database_cpu:
        whole = [own.all_ms / least.all_ms for own, least in zip(service, floor, strict=True)]
        found.append(("server + PostgreSQL CPU ÷ floor's, (a) (b) (c)", whole, ALL_CPU))
    if (PEER, WORKS[0], MANY_CONNECTIONS) in results:
        rates = [own.rate / other.rate for own, other in zip(service, many(PEER), strict=True)]
        found.append(("requests/s ÷ PostGraphile's, 16 connections, (a) (b) (c)", rates, RATE))
    found.append(("`first: 1000`, 10 fields and flow: ms that the event loop is held", [held_ms], HELD_MS))
    (more, checked) = cold
    found.append(("a new document: time beyond parse + validate ÷ these", [more / checked - 1], COLD))
    rows = [_row(["what", "measured", "gate", "stretch", "reached"]), _row(["---"] * 5)]
    for title, values, target in found:
        sign = "≥" if target.at_least else "≤"
        measured = " · ".join(f"{value:.2f}" for value in values)
        marks = [f"{sign} {target.gate:g}", f"{sign} {target.stretch:g}"]
        rows.append(_row([title, measured, *marks, target.judged(values)]))
    return "\n".join(rows)


def growth(sizes: Sequence[int], titles: Sequence[tuple[str, float]], times: Sequence[Sequence[float | None]]) -> str:
    """Returns the table of single reads: the median of milliseconds with each number of runs, and the target."""
    head = ["read, ms", *(f"{size:,} runs" for size in sizes), "growth", "to reach", "reached"]
    rows = [_row(head), _row(["---"] * len(head))]
    for number, (title, target) in enumerate(titles):
        found = [column[number] for column in times]
        cells = ["refused" if value is None else f"{value:.1f}" for value in found]
        first, last = found[0], found[-1]
        grown = f"{last / first:.1f} times" if first is not None and last is not None else ""
        reached = "yes" if last is not None and last <= target else "no"
        rows.append(_row([title, *cells, grown, f"{target:g}", reached]))
    return "\n".join(rows)


def _ratios(values: Sequence[float]) -> list[str]:
    """Returns each value, and its ratio to the first one."""
    return [
        f"{value:.2f}" if value is values[0] else f"{value:.2f} (÷ floor {value / values[0]:.1f})" for value in values
    ]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
