"""What the attacks got, kept as JSON for the table in docs/security.md."""

import json
import os

from e2e import REPO

FOLDER = REPO / ".cache/attack"


class Report:
    """Rows of one run: (case, place) → answer, contained, whole, detail."""

    def __init__(self, name):
        self.path = FOLDER / f"{name}.json"
        self.rows = []
        # Of the program that was attacked, if it tells.
        self.version = None

    def add(self, case, place, answer, held, damage=(), detail="", tried="", group=0, **more):
        self.rows.append({
            "case": case, "place": place, "answer": answer, "contained": held,
            "damage": list(damage), "detail": detail, "tried": tried, "group": group, **more,
        })

    def save(self):
        FOLDER.mkdir(parents=True, exist_ok=True)
        machine = f"Linux {os.uname().release}, {os.cpu_count()} processors"
        self.path.write_text(json.dumps({"machine": machine, "version": self.version, "rows": self.rows}, indent=1) + "\n")
