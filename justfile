# What people do here, by name. `just` alone lists it.

[private]
default:
    @just --list --unsorted

# Everything that must hold before a change is taken: style, types, structure, tests.
test: lint
    python -m pytest

# Style, types and who may import whom.
lint:
    ruff check .
    ruff format --check .
    mypy
    lint-imports

# The tests of one folder or name, quickly: `just t tests/unit -k escrow`.
t *arguments:
    python -m pytest -x -q {{ arguments }}

# The kill test, many times over with fresh seeds.
kill times="10":
    for run in $(seq {{ times }}); do python -m pytest -q tests/system/test_kill.py || exit 1; done

# The contract in files, for subscribers: schemas/, from the events as they are in the code.
schemas *arguments:
    python -m tests.golden.generate {{ arguments }}

# The whole market on this machine, on real input.
demo *arguments:
    pasar demo {{ arguments }}

# The page of the market that runs in PASAR_HOME; `pasar up` serves it too.
ui *arguments:
    pasar ui {{ arguments }}

# Pictures of every page in light, in dark and on a phone, or of some by name; writes docs/screenshots.
screenshots *names:
    python -m tests.browser.screenshots {{ names }}

# The notebooks, run and rendered into build/notebooks; a market of their own is made for them.
notebooks:
    python -m pytest -q tests/notebooks
    jupyter nbconvert --to html build/notebooks/*.ipynb

# Every benchmark beside its peers and raw limits, or some by name (`just bench latency moving overhead`); writes build/bench.json (several minutes).
bench *arguments:
    uv run --group bench python -W ignore -m tests.benchmarks {{ arguments }}

# Format and mend what can be mended by itself.
format:
    ruff check --fix .
    ruff format .
