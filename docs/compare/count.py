#!/usr/bin/env python3
"""Counts what a person writes for the same operation in five libraries, and prints a table of it.

    count.py                the table, in Markdown
    count.py --check FILE   fails unless FILE has exactly this table
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent

COLUMNS = (
    "library",
    "lines: operation and server",
    "lines: test",
    "dependencies",
    "streams",
    "resumes after a lost connection",
    "job survives the server's death",
    "input schema published",
    "all input errors at once",
    "cancel by request",
    "a command line",
    "refusals in a standard shape",
)

# What the program in each folder has, in the order of the columns from `streams` on. README.md says what the words mean.
# The numbers are counted, these are not: whoever changes a program looks here too.
HAS = {
    "skep": ("yes", "yes", "yes", "yes", "yes", "yes", "yes", "yes"),
    "dropshot": ("by hand", "no", "no", "yes", "ranges only", "no", "no", "its own"),
    "rmcp": ("yes", "while it runs", "no", "yes", "ranges only", "yes", "no", "yes"),
    "jsonrpsee": ("yes", "no", "no", "no", "ranges only", "yes", "no", "yes"),
    "axum": ("yes", "no", "no", "no", "ranges only", "no", "no", "no"),
}


def main(arguments):
    match arguments:
        case []:
            print(table())
        case ["--check", file]:
            check(Path(file))
        case _:
            sys.exit(__doc__)


def check(file):
    """The table in `file` is the whole table: lines of it before or after would be another one."""
    tables = re.findall(r"(?:^\|.*\n)+", file.read_text() + "\n", re.MULTILINE)
    if table() + "\n" not in tables:
        sys.exit(f"{file} lacks this table, which is what {Path(__file__).name} counts:\n\n{table()}")


def table():
    check_format()
    versions = locked_versions()
    rows = [COLUMNS, ["---", *["---:"] * 3, *["---"] * (len(COLUMNS) - 4)]]
    for library, has in HAS.items():
        name = "Skep" if library == "skep" else f"{library} {versions[library]}"
        counts = lines(library, "src"), lines(library, "tests"), dependencies(library)
        rows.append([name, *map(str, counts), *has])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def sources(library, folder):
    files = sorted((HERE / library / folder).rglob("*.rs"))
    return files or sys.exit(f"{library}/{folder} has no Rust file: nothing to count")


def lines(library, folder):
    """Lines of code: neither blank nor a comment, documentation included."""
    count = 0
    for file in sources(library, folder):
        text = file.read_text()
        if "/*" in text:
            sys.exit(f"{file}: block comments aren't told from code here, write `//`")
        count += sum(not line.lstrip().startswith("//") for line in text.splitlines() if line.strip())
    return count


def dependencies(library):
    """Crates that the manifest names, those of its tests included."""
    manifest = tomllib.loads((HERE / library / "Cargo.toml").read_text())
    return len(manifest["dependencies"] | manifest.get("dev-dependencies", {}))


def locked_versions():
    lock = tomllib.loads((HERE / "Cargo.lock").read_text())
    return {package["name"]: package["version"] for package in lock["package"]}


def check_format():
    """Lines compare only where all are broken by the same rules, the root's rustfmt.toml."""
    files = [file for library in HAS for folder in ("src", "tests") for file in sources(library, folder)]
    rustfmt = ["rustfmt", "--check", "--edition", "2024", "--config-path", str(HERE.parents[1])]
    if subprocess.run([*rustfmt, *map(str, files)], check=False).returncode != 0:
        sys.exit("not formatted: run `cargo fmt --all` in docs/compare")


if __name__ == "__main__":
    main(sys.argv[1:])
