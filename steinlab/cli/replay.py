"""``steinlab replay``: run one stored case again."""

from rich.text import Text

from steinlab.cli.output import JsonOption, SpecArgument, new_table, show, styled, write_json
from steinlab.storage import check_target, in_file


def replay(case: SpecArgument, target: JsonOption = None) -> int:
    """Run a stored case again and compare with what was stored; exit 1 if any digit differs."""
    from steinlab.report.words import case_name, case_text, labels
    from steinlab.verification.ledger import read_case
    from steinlab.verification.ledger import replay as run_again

    check_target(target)
    stored = read_case(case)
    with in_file(case):
        now = run_again(stored)
    title = Text(f"{stored['claim']}, {stored['check']}: {case_name(stored)}")
    table = new_table(title, ("", "stored", "now"), left=("",))
    same = True
    for key, label in labels(now["kind"]).items():
        equal = float(stored[key]) == now[key]
        same = same and equal
        mark = "" if equal else "  [red]differs[/]"
        table.add_row(label, repr(float(stored[key])), repr(now[key]) + mark)
    relation = "violates the claim" if now["violated"] else "agrees with the claim"
    closing = f"the case {relation}; {'' if same else 'NOT '}reproduced to the last digit"
    show(table, styled(case_text(stored["case"])), closing, target=target)
    write_json(target, {**now, "reproduced": same})
    return 0 if same else 1
