"""Draw mutants: one operator or one number of a module changed, by cosmic-ray."""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

LEFT_OUT = (
    r"/ReplaceBinaryOperator_(\w+_)?(RShift|LShift|BitOr|BitAnd|BitXor)(_\w+)?$",
    r"/ReplaceUnaryOperator_\w*Invert\w*$",
    r"/ReplaceComparisonOperator_(?!Is_IsNot$|IsNot_Is$)(\w+_Is|\w+_IsNot|Is_\w+|IsNot_\w+)$",
    r"/RemoveDecorator$",
)
"""Operators whose mutants say nothing; docs/mutants.md gives the reasons."""


class Mutant(NamedTuple):
    """One of a module's mutants, before it is made."""

    room: str
    module: str
    operator: str
    occurrence: int
    line: int


def modules(tree: Path, patterns: list[str]) -> list[str]:
    """Return the modules that match, relative to the tree."""
    found = {path for pattern in patterns for path in tree.glob(pattern)}
    return sorted(path.relative_to(tree).as_posix() for path in found)


def draw(tree: Path, plan: dict[str, Any]) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Return how many mutants each room has, and a sample of all, made."""
    pool: list[Mutant] = []
    for room, patterns in plan["rooms"].items():
        only = plan.get("definitions", {}).get(room, "").split()
        for module in modules(tree, patterns):
            pool += _mutants(tree, room, module, only)
    counts = {room: sum(m.room == room for m in pool) for room in plan["rooms"]}
    drawn = random.Random(plan["seed"]).sample(pool, min(plan["sample"], len(pool)))
    return counts, [_made(tree, mutant) for mutant in drawn]


def _mutants(tree: Path, room: str, module: str, only: list[str]) -> Iterator[Mutant]:
    """Cosmic-ray's mutants of a module, without those that say nothing."""
    from cosmic_ray import plugins
    from cosmic_ray.ast import ast_nodes, get_ast_from_path
    from cosmic_ray.ast.ast_query import ASTQuery

    lines = (tree / module).read_text(encoding="utf-8").splitlines()
    nodes = list(ast_nodes(get_ast_from_path(tree / module)))
    for name in sorted(plugins.operator_names()):
        operator = plugins.get_operator(name)
        if operator.arguments() or any(re.search(pattern, name) for pattern in LEFT_OUT):
            continue
        positions = ((n, *place) for n in nodes for place in operator().mutation_positions(n))
        for occurrence, (node, (line, column), _) in enumerate(positions):
            text = lines[line - 1]
            # a decorator; the mark of keyword-only arguments and unpacking, which are no products
            before, after = text[:column].rstrip()[-1:], text[column:].lstrip("*")
            starred = before in tuple("([{,") or not (before or after.startswith(" "))
            if text.lstrip().startswith("@") or (text[column] == "*" and starred):
                continue
            if not only or ASTQuery(node).get_definition_name() in only:
                yield Mutant(room, module, name, occurrence, line)


def _made(tree: Path, mutant: Mutant) -> dict[str, Any]:
    """Make a mutant: the lines that differ, before and after."""
    from cosmic_ray import plugins
    from cosmic_ray.mutating import mutate_code

    source = (tree / mutant.module).read_text(encoding="utf-8")
    made = mutate_code(source, plugins.get_operator(mutant.operator)(), mutant.occurrence)
    before, after = source.splitlines(keepends=True), made.splitlines(keepends=True)
    end = len(after) - len(before)
    first = next(k for k, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
    last = len(before)
    while last > first + 1 and before[last - 1] == after[last - 1 + end]:
        last -= 1
    return {
        "room": mutant.room,
        "module": mutant.module,
        "operator": f"{mutant.operator.split('/')[-1]} {mutant.occurrence}",
        "line": mutant.line,
        "first": first,
        "before": "".join(before[first:last]),
        "after": "".join(after[first : last + end]),
    }


def place(source: str, mutant: dict[str, Any]) -> int:
    """Return before which line of a module's source a mutant begins: lines may have moved since."""
    lines, before = source.splitlines(keepends=True), mutant["before"]
    count = before.count("\n")
    places = [k for k in range(len(lines)) if "".join(lines[k : k + count]) == before]
    if not places:
        raise ValueError(f"{mutant['module']} is not what the mutant was drawn from")
    return min(places, key=lambda k: abs(k - mutant["first"]))


def with_mutant(source: str, mutant: dict[str, Any]) -> str:
    """Return a module's source with the mutant in it."""
    lines, first = source.splitlines(keepends=True), place(source, mutant)
    return "".join(
        [*lines[:first], mutant["after"], *lines[first + mutant["before"].count("\n") :]]
    )
