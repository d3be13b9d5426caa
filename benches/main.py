"""./bench cold|warm: see its --help."""

import argparse
import importlib


def main():
    parser = argparse.ArgumentParser(prog="./bench")
    parser.add_argument("what", choices=("cold", "warm"))
    parser.add_argument("--runs", type=int, default=200, help="starts or calls of each (default 200)")
    parser.add_argument("--json", metavar="FILE", help="also writes the figures there")
    chosen = parser.parse_args()
    importlib.import_module(chosen.what).measure(chosen.runs, chosen.json)


if __name__ == "__main__":
    main()
