"""The pages show what is there: their blocks run, their screens are printed, their tables are the code's, their names resolve.

What is to be done with a fenced block stands in comments right before it; without one, `sh` and `python` run as they are:

    <!-- run: TEXT -> OTHER; exit 1 -->  run with other text in it, to be small, and with this exit code
    <!-- not run: WHY -->
    <!-- screen: COMMAND -->             it is what COMMAND prints
    <!-- rows: COMMAND -->               each row of numbers that a smaller COMMAND prints is in it

After `slow`, as in `slow screen`, it takes more than a second or two. A block of `text` without any is no command. What lies
between `<!-- made: NAME -->` and `<!-- end -->` is made from the code. `python tests/test_docs.py` writes made parts and screens
anew, of all pages or of those that it is given, as in `README.md docs/spec.md`; review the diff.
"""

import ast
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill
from typing import Any, NamedTuple

import click
import pytest
import yaml
from click.testing import CliRunner

import tensix_sim
from tensix_sim.arch import BOARDS, machine
from tensix_sim.cli import main
from tensix_sim.config import BUILT_IN, load_spec
from tensix_sim.job import Job
from tensix_sim.schema import spec_schema
from tensix_sim.sdpa.op import OPS

ROOT = Path(tensix_sim.__file__).parents[1]
PAGES = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))
WORMHOLE, BLACKHOLE = machine("n150").chip, machine("p150b").chip
NOTE = re.compile(r"<!-- ((?:slow )?(?:run|not run|screen|rows)): ([^\n]*) -->\n")
BLOCK = re.compile(rf"((?:{NOTE.pattern})*)^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MADE_PART = re.compile(r"(<!-- made: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a page, and what is said of it."""

    where: str
    language: str
    text: str
    notes: dict[str, str]

    def said(self, note: str) -> str | None:
        """What such a note says, slow or not."""
        return self.notes.get(note) or self.notes.get(f"slow {note}")


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in BLOCK.finditer(text):
        notes, language, body = found.group(1, 4, 5)
        where = f"{page.relative_to(ROOT)}:{text[: found.start(4)].count(chr(10)) + 1}"
        yield Block(where, language, body, dict(NOTE.findall(notes)))


BLOCKS = [block for page in PAGES for block in _blocks(page)]


def _having(note: str, language: str = "text") -> list[Any]:
    """Blocks in `language` with such a note, and, but for text, those that run as they are; slow ones are marked."""
    found = [b for b in BLOCKS if b.language == language and (b.said(note) or (language != "text" and not b.notes))]
    return [pytest.param(b, id=b.where, marks=(pytest.mark.slow,) if f"slow {note}" in b.notes else ()) for b in found]


# -- blocks -------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a small ``spec.yaml``."""
    inputs = {"q_heads": 1, "kv_heads": 1, "seq_len": 512, "head_dim": 64}
    config = {"compute_with_storage_grid_size": [4, 4], "q_chunk_size": 32, "k_chunk_size": 64}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump({"inputs": inputs, "program_config": config}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _printed(command: str, exit_code: int = 0) -> str:
    """What a command of ours prints; it runs in this process, on one CPU unless it says how many."""
    name, *words = shlex.split(command.replace("\\\n", ""), comments=True)
    assert name == "tensix-sim", f"{name}: only commands of tensix-sim are run; say `not run` and why"
    if words and any(p.name == "jobs" for p in main.commands[words[0]].params) and "--jobs" not in words:
        words += ["--jobs", "1"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == exit_code, f"{command}: exit code {done.exit_code}\n{done.output}"
    return done.stdout


def _made_small(block: Block) -> tuple[str, int]:
    """The text to run, and the exit code to expect."""
    text, code = block.text, 0
    for change in filter(None, (block.said("run") or "").split("; ")):
        if change.startswith("exit "):
            code = int(change.removeprefix("exit "))
            continue
        old, new = change.split(" -> ")
        assert old in text, f"{block.where}: {old} is not in the block"
        text = text.replace(old, new)
    return text, code


@pytest.mark.parametrize("block", [pytest.param(block, id=block.where) for block in BLOCKS])
def test_a_block_runs_or_says_why_not(block: Block) -> None:
    """Its language says what it is, and no command hides in a text that nobody compares."""
    assert block.language in ("sh", "python", "yaml", "text")
    if block.language == "text" and not block.notes:
        assert not re.search(r"^\$? *(tensix-sim|python|pip|pytest|make) ", block.text, re.MULTILINE)
    assert all(block.notes.values())


@pytest.mark.parametrize("block", _having("run", "sh"))
def test_commands_run(block: Block, place: Path) -> None:
    """The commands of a block end as they should, one after the other in one folder."""
    text, code = _made_small(block)
    for command in text.replace("\\\n", " ").splitlines():
        if shlex.split(command, comments=True):
            _printed(command, code)


@pytest.mark.parametrize("block", _having("run", "python"))
def test_python_runs(block: Block, place: Path) -> None:
    """A block runs by itself, and so does each test in it."""
    text, _ = _made_small(block)
    names: dict[str, Any] = {"__name__": "block"}
    exec(compile(text, block.where, "exec"), names)
    for name, value in names.items():
        if name.startswith("test_"):
            value()


@pytest.mark.parametrize("block", _having("run", "yaml"))
def test_a_spec_is_legal(block: Block, place: Path) -> None:
    """A block of YAML is a spec that `check` has nothing against."""
    Path("shown.yaml").write_text(block.text)
    report = tensix_sim.check("shown.yaml")
    assert report.ok, report.text()


@pytest.mark.parametrize("block", _having("screen"))
def test_a_screen_is_what_the_command_prints(block: Block, place: Path) -> None:
    """To the letter."""
    assert block.text == _printed(block.said("screen") or "")


@pytest.mark.parametrize("block", _having("rows"))
def test_a_table_has_the_rows_that_a_smaller_command_prints(block: Block, place: Path) -> None:
    """The row of the same first number has all that the smaller command knows of it."""
    shown = {words[0]: words for words in map(str.split, block.text.splitlines()) if words and words[0][0].isdigit()}
    printed = map(str.split, _printed(block.said("rows") or "").splitlines())
    rows = [row for row in printed if row and row[0][0].isdigit()]
    assert rows
    for row in rows:
        assert {*row} - {"-", "off"} <= {*shown[row[0]]}


# -- what is made from the code -----------------------------------------------------------------------------


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"


def _values(schema: dict[str, Any]) -> str:
    """What a key of the spec takes, in words."""
    match schema:
        case {"anyOf": options}:
            words = (_values(option) for option in options if option != {"type": "null"} and "pattern" not in option)
            return " or ".join(words)
        case {"enum": words}:
            return ", ".join(f"`{word}`" for word in words)
        case {"const": word}:
            return f"`{word}`"
        case {"type": "boolean"}:
            return "true, false"
        case {"type": "integer"}:
            return f"integer from {schema.get('minimum', 1)}"
        case {"type": "number", "minimum": least, "maximum": most}:
            return f"{least} to {most}"
        case {"type": "array", "prefixItems": items}:
            return f"[{', '.join('abc'[: len(items)])}]" if "prefixItems" not in items[0] else "[[a, b], [a, b]]"
        case {"type": "array", "items": item}:
            return f"list of {_values(item)}"
        case {"type": "object"}:
            return "mapping"
    return {"string": "text", "number": "number"}[schema["type"]]


SCHEMA = ROOT / "docs/spec.schema.json"  # which editors take, and docs/spec.md is made from
SPEC = json.loads(SCHEMA.read_text())


def spec_keys() -> str:
    """Every key of a run spec: what it takes, its default, what it means."""

    def rows(model: dict[str, Any], prefix: str) -> Iterator[tuple[str, ...]]:
        required = next(iter(model.get("anyOf", [model]))).get("required", ())
        for name, field in model["properties"].items():
            options = field.get("anyOf", [field])
            refs = [option["$ref"] for option in options if "$ref" in option]
            default = "required" if name in required else str(field.get("default", "null")).replace("None", "null")
            default = {"True": "true", "False": "false"}.get(default, default)
            takes = "keys" if refs else _values(field)
            yield f"`{prefix}{name}`", takes, "" if "{" in default else default, field["description"]
            for ref in refs:
                yield from rows(SPEC["$defs"][ref.rpartition("/")[2]], f"{prefix}{name}.")

    return _table(("key", "takes", "default", "what"), [*rows(SPEC, "")])


def keys_of_ops() -> str:
    """Which op takes which key: whether `check` refuses it by its name."""
    values: dict[str, Any] = {"ring_size": 2, "ring_ids": [0], "ring_id": 0, "mesh": [8, 4], "is_causal": False}
    values |= {"sliding_window_size": 64, "paged_kv": {"block_size": 32}, "chunk_start_idx": 64}

    def takes(op: str, key: str) -> str:
        report = tensix_sim.check({"op": op, "inputs": BUILT_IN.inputs.model_dump(), key: values[key]})
        return "error" if any(f"{op} takes no {key}" in violation.message for violation in report.violations) else "yes"

    return _table(("key", *OPS), [(f"`{key}`", *(takes(op, key) for op in OPS)) for key in values])


def _option(option: click.Option) -> tuple[str, str]:
    """How an option is given, and what it does."""
    names = "/".join([*option.opts, *option.secondary_opts])
    kind = "|".join(option.type.choices) if isinstance(option.type, click.Choice) else option.type.name.split()[0].upper()
    given = "" if option.is_flag else f" {option.metavar or kind}"
    default = f"  [default: {option.default}]" if option.show_default else ""
    return f"`{names}{given}`", " ".join(f"{option.help or ''}{default}".split())


def commands() -> str:
    """Each command as click knows it: its arguments, its help, its options."""
    text = ""
    for name, command in main.commands.items():
        arguments = [(p, p.metavar or (p.name or "").upper()) for p in command.params if isinstance(p, click.Argument)]
        usage = " ".join(["tensix-sim", name, *(word if p.required else f"[{word}]" for p, word in arguments)])
        told = "\n\n".join(fill(paragraph, 120) for paragraph in cleandoc(command.help or "").split("\n\n"))
        options = [_option(p) for p in command.params if isinstance(p, click.Option)]
        text += f"### {name}\n\n`{usage}`\n\n{told}\n\n{_table(('option', 'does'), options)}\n"
    return f"\n{text}"


def _first_sentence(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return re.split(r"(?<=[.])\s", " ".join(text.split()), maxsplit=1)[0].removesuffix(".")


def floors() -> str:
    """The floors that test_floors.py holds, each part by the first sentence of its docstring."""
    source = next((ROOT / "tests").rglob("test_floors.py")).read_text()
    listed = next(
        node.value for node in ast.parse(source).body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FLOORS"
    )
    rows = []
    for number, parts in enumerate(ast.literal_eval(listed)):
        for part in sorted(parts):
            package = (ROOT / "tensix_sim" / part).is_dir()
            file = ROOT / "tensix_sim" / (f"{part}/__init__.py" if package else f"{part}.py")
            shown = "kernels/" if part == "kernels" else f"tensix_sim/{part}/" if package else f"tensix_sim/{part}.py"
            rows.append((str(number), f"`{shown}`", _first_sentence(file)))
    return _table(("floor", "where", "what"), rows)


def benchmarks() -> str:
    """The scripts in benchmarks, each by the first sentence of its docstring."""
    scripts = sorted((ROOT / "benchmarks").glob("*.py"))
    return _table(("script", "does"), [(f"`benchmarks/{script.name}`", _first_sentence(script)) for script in scripts])


def boards() -> str:
    """The boards."""
    short = {"wormhole_b0": "WH", "blackhole": "BH"}

    def size(pair: tuple[int, int]) -> str:
        return f"{pair[0]}x{pair[1]}"

    rows = []
    for name, board in BOARDS.items():
        chips, banks = f"{board.chips} {short[board.chip.name]}", str(board.chip.dram.banks)
        rows.append((name, chips, size(board.mesh), size(board.grid), banks, str(board.links_per_neighbour)))
    return _table(("board", "chips", "mesh", "grid", "DRAM banks", "links to a neighbour"), rows)


def checked() -> str:
    """How far predictions are from what was published: the sums of docs/fidelity.md."""
    page = (ROOT / "docs/fidelity.md").read_text()
    rows = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    of = {row[0]: row for row in rows if len(row) == 6}
    _, walls, mean, _, worst, _ = of["all"]
    points, median, _, far, _ = next(row[2:] for row in rows if row[:2] == ["all", ""])
    chips = {name: machine(name).chip.name for name in BOARDS}
    blackhole = sum(int(of[f"board {name}"][1]) for name, chip in chips.items() if chip == "blackhole" and f"board {name}" in of)
    times = f"Of {walls} published device times, {blackhole} of them on Blackhole, the mean error is {mean} and the worst {worst}"
    return fill(f"{times}; of {points} published microbenchmarks the median error is {median} and the worst {far}.", 120) + "\n"


MADE = {make.__name__: make for make in (spec_keys, keys_of_ops, commands, floors, benchmarks, boards, checked)}
PARTS = [(page, *found.group(2, 3)) for page in PAGES for found in MADE_PART.finditer(page.read_text())]


@pytest.mark.parametrize(("page", "name", "text"), [pytest.param(*part, id=part[1]) for part in PARTS])
def test_what_is_made_is_up_to_date(page: Path, name: str, text: str) -> None:
    """The page has what the code gives."""
    assert text == MADE[name]()


def test_all_that_can_be_made_is_shown() -> None:
    """Each table has its place."""
    assert sorted(name for _, name, _ in PARTS) == sorted(MADE)


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"paged_kv": {"block_size": 32}}, {"op": "sdpa", "inputs.attention_sink": "random"},
        {"op": "sdpa", "is_causal": False, "cu_window_seqlens": [0, 64, 8192]},
        {"op": "chunked_sdpa", "paged_kv": {"block_size": 32}, "chunk_start_idx": 0, "chunk_start_idx_tensor": True},
        {"op": "ring_joint_sdpa"}, {"op": "ring_joint_sdpa", "compute_kernel_config.fp32_dest_acc_en": False},
    ],
    ids=str,
)  # fmt: skip
def test_every_buffer_of_an_op_is_in_the_table(changes: dict[str, Any]) -> None:
    """Of whatever op and kernel, those of gather cores too."""
    settings = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    job = Job.legal(load_spec(BUILT_IN.model_dump(), ["mesh=null", "kernel=null", *settings]))
    told = re.findall(r"^\| (`[^|]*`) [^|]*\|", (ROOT / "docs/kernels.md").read_text(), re.MULTILINE)
    named = {name for cell in told for name in re.findall(r"`(\w+)`", cell)}
    assert {buffer.name for buffer in job.geometry.buffers} <= named
    assert "packets" in named


def test_every_table_by_op_has_all_ops() -> None:
    """On the page of the spec."""
    headers = re.findall(r"^\|.*\| chunked_sdpa \|$", (ROOT / "docs/spec.md").read_text(), re.MULTILINE)
    assert [tuple(cell.strip() for cell in header.split("|")[2:-1]) for header in headers] == [tuple(OPS)] * 2


# -- the machine's numbers ----------------------------------------------------------------------------------

PART = {"NoC": "noc", "DRAM and L1 tensors": "dram", "Ethernet": "ethernet", "L1": "l1"}


def _constants() -> Iterator[tuple[str, list[str], tuple[str, str]]]:
    """Each row of the tables of constants of docs/model.md: the chip's part, its numbers' names, the cells of both chips."""
    heading, in_table = "", False
    for line in (ROOT / "docs/model.md").read_text().splitlines():
        if line.startswith("#"):
            heading = line.strip("# ")
        in_table = line.startswith("|") and (in_table or line.startswith("| name | WH | BH |"))
        if in_table and "`" in (cells := line.split(" | "))[0]:
            yield PART.get(heading, "tensix"), re.findall(r"`(\w+)`", cells[0]), (cells[1], cells[2])


@pytest.mark.parametrize("row", [pytest.param(row, id=row[1][0]) for row in _constants()])
def test_a_constant_is_the_machines(row: tuple[str, list[str], tuple[str, str]]) -> None:
    """A cell has the numbers that its row names, in their order; of endpoints how many there are."""
    part, names, cells = row
    for chip, cell in zip((WORMHOLE, BLACKHOLE), cells, strict=True):
        numbers = getattr(chip, part).model_dump()
        values = [numbers[name] for name in names if name in numbers]
        shown = [float(text.replace(",", "")) for text in re.findall(r"\d[\d,]*\.?\d*", cell)]
        assert shown == [len(value) if isinstance(value, tuple) else value for value in values]


def test_no_constant_is_left_out() -> None:
    """Each number of a chip has its row; what a user says has none."""
    parts = ("tensix", "noc", "dram", "ethernet", "l1")
    said = {(part, name) for part, names, _ in _constants() for name in names}
    there = {(part, name) for part in parts for name in type(getattr(BLACKHOLE, part)).model_fields}
    assert there - said == {("dram", "bank_shares"), ("l1", "reserved")}


# -- names --------------------------------------------------------------------------------------------------


@cache
def _prose(page: Path) -> str:
    """A page without its blocks."""
    return BLOCK.sub("", page.read_text())


@cache
def _sources() -> list[Path]:
    """All files of Python here but this one."""
    folders = ("tensix_sim", "kernels", "tests", "benchmarks", "examples")
    return [file for folder in folders for file in (ROOT / folder).rglob("*.py") if file.name != "test_docs.py"]


@cache
def _code() -> str:
    """All that is written in them."""
    return "\n".join(file.read_text() for file in _sources())


@cache
def _words() -> set[str]:
    """Every name in them, and their own."""
    return {*re.findall(r"\w+", _code()), *(file.stem for file in _sources()), Path(__file__).stem}


# names of SimPy, click, tt-metal and Python; and, short for a constant of the model, what a verb pays
OTHERS = {"ClickException", "Container", "Thread", "__pycache__", "process_time", "thread_time", "matmul_blocks", "noc_latencies"}
OTHERS |= {"data_movement", "accumulate_switch", "cb_update", "cb_wait", "math_init", "reduce_block_max_row", "recip_tile"}
OTHERS |= {"pack_tile", "bash_source", "zsh_source", "fish_source"}


def _exists(path: str, page: Path) -> bool:
    """Whether a file or folder is there: from the root, the package, the kernels or the page, or anywhere by its bare name."""
    places = (ROOT, ROOT / "tensix_sim", ROOT / "kernels", page.parent)
    return any((place / path).exists() for place in places) or ("/" not in path and any(ROOT.glob(f"[a-z]*/**/{path}")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_exist(page: Path) -> None:
    """A path of Python or of one of our folders that stands in code marks is there."""
    folders = "|".join(path.name for path in sorted(ROOT.iterdir()) if path.is_dir() and path.name[0] != ".")
    ours = rf"(?:{folders})/[\w./*-]+|[\w/]+\.py"
    named = re.findall(rf"`({ours})`", _prose(page))
    assert [path for path in named if not path.startswith(("traces/runs", "traces/tune")) and not _exists(path, page)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_dotted_names_resolve(page: Path) -> None:
    """`tensix_sim.a.b` can be imported, wherever it stands."""

    def resolves(dotted: str) -> bool:
        names, found = dotted.split("."), None
        for i, name in enumerate(names):
            try:
                found = import_module(".".join(names[: i + 1]))
            except ImportError:
                if not hasattr(found, name):
                    return False
                found = getattr(found, name)
        return True

    assert [name for name in re.findall(r"\btensix_sim(?:\.[A-Za-z_]\w*)+", page.read_text()) if not resolves(name)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_are_in_the_code(page: Path) -> None:
    """A name with an underscore or a capital that stands in code marks is one of the code's, or of the list of others'."""
    text = _prose(page)
    if page.name == "kernels.md":
        text = re.sub(r"^(\|[^|]*\|)[^|]*\|", r"\1", text, flags=re.MULTILINE)  # the second column is tt-metal's
    named = {name for marked in re.findall(r"`([^`\n]+)`", text) for name in re.findall(r"[A-Za-z_]\w+", marked)}
    ours = {name for name in named if "_" in name or (name[0].isupper() and not name.isupper())}
    assert {name for name in ours - _words() - OTHERS if not name.startswith("TENSIX_SIM_")} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """A link within the project has its file, and the heading that it names."""
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text()):
        file = page.parent / target if target else page
        assert file.exists(), target
        if anchor:
            headings = [
                re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-")
                for h in re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            ]
            assert anchor in headings, (target, anchor)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_and_targets_exist(page: Path) -> None:
    """An option in code marks is one of our commands or of the plug-in; what is made is in the Makefile."""
    options = re.findall(r"`(?:[^`\n]* )?(--[a-z][\w-]*)[^`\n]*`", _prose(page))
    assert [option for option in options if f'"{option}' not in _code() and f'/{option}"' not in _code()] == []
    targets = re.findall(r"`make ([\w-]+)`|^make ([\w-]+)", page.read_text(), re.MULTILINE)
    there = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {a or b for a, b in targets} <= {*there}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_can_be_set(page: Path) -> None:
    """`--set KEY=VALUE`, wherever it stands, names a key of the spec or a number of the machine."""
    for key in re.findall(r"--set '?([a-z_]{2,}[\w.]*)=", page.read_text()):
        first, _, rest = key.partition(".")
        if first == "machine":
            machine("p150b").override({rest: BLACKHOLE.model_dump()[rest.partition(".")[0]][rest.partition(".")[2]]})
        else:
            assert first in SPEC["properties"], key
            refs = re.findall(r"/\$defs/(\w+)", str(SPEC["properties"][first]))
            assert not rest or any(rest.partition(".")[0] in SPEC["$defs"][ref]["properties"] for ref in refs), key


# -- accepting ----------------------------------------------------------------------------------------------


def _schema() -> str:
    return json.dumps(spec_schema(), indent=2) + "\n"


def test_the_published_schema_is_what_the_models_say() -> None:
    """The file that editors take, and what the command prints."""
    assert SCHEMA.read_text() == _schema() == _printed("tensix-sim schema")


def _write(page: Path) -> None:
    """Write the made parts and the screens of a page anew."""
    text = MADE_PART.sub(lambda part: part[1] + MADE[part[2]]() + part[4], page.read_text())
    for block in _blocks(page):
        if command := block.said("screen"):
            text = text.replace(f"```text\n{block.text}```", f"```text\n{_printed(command)}```")
    page.write_text(text)


if __name__ == "__main__":
    SCHEMA.write_text(_schema())
    SPEC = json.loads(_schema())
    chosen = {ROOT / name for name in sys.argv[1:]} or {*PAGES}
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        for page in PAGES:
            if page in chosen:
                _write(page)
