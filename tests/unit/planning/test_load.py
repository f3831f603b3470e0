"""Specs that are right, specs that are wrong, and where each says that it is wrong."""
# ruff: noqa: E501  the table of wrong specs has one line for each

import re
import textwrap
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import SpecError, UsageError
from penstock.model.spec import Request, Spec, Value
from penstock.planning import sweep
from penstock.planning.load import load, renamed
from penstock.planning.request import OWNED


def read(text: str, file: str = "digits.yaml") -> Spec:
    return load(textwrap.dedent(text), file=file, folder="/project")


def refused(text: str) -> SpecError:
    with pytest.raises(SpecError) as error:
        read(text)
    return error.value


def runs(params: str) -> list[dict[str, Value]]:
    (stage,) = read(f"command: x\nparams: {params}").stages
    return list(sweep.expand(stage.sweep))


FULL = """\
    experiment: digits-2
    tags: {purpose: demo, year: 2026}
    code: ["train.py", "lib/**"]
    stages:
      train:
        command: [python, train.py, --lr, "{lr}"]
        params:
          lr: [0.1, 0.01]
          seed: {from: 0, to: 4}
          wd: {from: 1e-5, to: 1e-2, count: 4, scale: log}
          layers: {value: [64, 64]}
          zip: {width: [64, 128], depth: [2, 4]}
        repeat: 3
        request:
          cpus: 4
          gpus: 1
          mem: 4G
          time: "1:30:00"
          partition: short,long
          account: a
          qos: q
          options: ["--constraint=a100", --exclusive]
        env: {OMP_NUM_THREADS: 4, VERBOSE: true, SEED_FILE: 007}
        outputs: [model.pkl, "figures/*.png"]
        metrics: stdout
        max_parallel: 20
      test:
        command: python test.py
    """


def test_full_spec_is_read() -> None:
    spec = read(FULL)
    train, test = spec.stages
    assert (spec.experiment, spec.folder, spec.file) == ("digits-2", "/project", "digits.yaml")
    assert spec.tags == (("purpose", "demo"), ("year", "2026"))
    assert spec.code == ("train.py", "lib/**")
    assert spec.text == textwrap.dedent(FULL)
    assert (train.name, test.name) == ("train", "test")
    assert train.command == ("python", "train.py", "--lr", "{lr}")
    assert sweep.size(train.sweep) == 2 * 5 * 4 * 2 * 3
    assert next(sweep.expand(train.sweep)) == {
        "lr": 0.1,
        "seed": 0,
        "wd": 1e-05,
        "layers": [64, 64],
        "width": 64,
        "depth": 2,
        "repeat": 0,
    }
    assert train.request == Request(
        4, 1, 4096, 5400, "short,long", "a", "q", ("--constraint=a100", "--exclusive")
    )
    assert train.env == (("OMP_NUM_THREADS", "4"), ("VERBOSE", "true"), ("SEED_FILE", "007"))
    assert train.outputs == ("model.pkl", "figures/*.png")
    assert (train.metrics_stdout, train.max_parallel) == ("", 20)
    assert test.command == ("python", "test.py")
    assert (test.request, test.metrics_stdout, test.max_parallel) == (Request(), None, None)


def test_one_stage_at_the_top_is_called_main() -> None:
    spec = read("command: python train.py")
    assert [stage.name for stage in spec.stages] == ["main"]
    assert (spec.experiment, spec.code) == ("digits", None)


def test_image_of_a_stage_is_no_variable() -> None:
    (stage,) = read(
        "command: x\nenv: {A: b, apptainer: images/x.sif, APPTAINER_BIND: /data}"
    ).stages
    assert stage.env == (("A", "b"), ("APPTAINER_BIND", "/data"))
    assert (stage.environment.apptainer, stage.environment.at) == ("images/x.sif", (2, 24))


def test_experiment_of_another_name() -> None:
    assert renamed(read("command: x"), "again").experiment == "again"
    with pytest.raises(UsageError, match="'a/b' is not a name"):
        renamed(read("command: x"), "a/b")


@pytest.mark.parametrize(
    "text,words",
    [
        ("python train.py --name 'a b' \"c d\" e\\ f", ["python", "train.py", "--name", "a b", "c d", "e f"]),
        ("awk '{{print $1}}' x", ["awk", "{{print $1}}", "x"]),
        ("x '$HOME|;&<>*`' \\$HOME \\*", ["x", "$HOME|;&<>*`", "$HOME", "*"]),
        ("x \"cost \\$5 \\\\ \\`\\n\" price$ a~b c#d", ["x", "cost $5 \\ `\\n", "price$", "a~b", "c#d"]),
        ("x {params}", ["x", "{params}"]),
    ],
)  # fmt: skip
def test_command_as_a_text_is_split_as_a_shell_would(text: str, words: list[str]) -> None:
    spec = read("command: >-\n  " + text)
    assert spec.stages[0].command == tuple(words)


def test_command_over_lines_is_one() -> None:
    folded = read("command: >\n  python x.py\n  --lr 1\n")
    joined = read("command: |\n  python x.py \\\n    --lr 1\n")
    assert folded.stages[0].command == joined.stages[0].command == ("python", "x.py", "--lr", "1")


def test_words_of_a_command_stay_as_they_are_written() -> None:
    spec = read("command: [x, 1e-3, 007, true, 2020-01-01, 0.10, '']")
    assert spec.stages[0].command == ("x", "1e-3", "007", "true", "2020-01-01", "0.10", "")


@pytest.mark.parametrize(
    "command",
    [
        """[sh, -c, 'echo "$PENSTOCK_PARAM_LR"']""",
        """[sh, -c, 'python x.py "$@"', _, "{params}", "{lr}"]""",
        """[bash, script.sh, "{lr}", -c, x]""",
        """[bash, -e, script.sh, "{lr}"]""",
        """[python, -c, 'print("{lr}")']""",
    ],
)
def test_placeholder_beside_a_shells_script_is_fine(command: str) -> None:
    assert read(f"command: {command}\nparams: {{lr: 1}}").stages


# --- params


@pytest.mark.parametrize(
    "params,values",
    [
        ("{a: 1}", [1]),
        ("{a: [1, 1.0, '1', true, null]}", [1, 1.0, "1", True, None]),
        ("{a: yes}", ["yes"]),
        ("{a: 1:30}", ["1:30"]),
        ("{a: [0o17, 0x1F, -3, +4]}", [15, 31, -3, 4]),
        ("{a: [1e-5, .5, 1., 1E3]}", [1e-5, 0.5, 1.0, 1000.0]),
        ("{a: {value: {b: [1, {c: null}]}}}", [{"b": [1, {"c": None}]}]),
        ("{a: [[1, 2], [3]]}", [[1, 2], [3]]),
        ("{a: [{b: 1}, {value: 2}]}", [{"b": 1}, 2]),
        ("{a: {value: []}}", [[]]),
        ("{a: {from: 0, to: 4, step: 2}}", [0, 2, 4]),
        ("{a: {from: 4, to: 0, step: -3}}", [4, 1]),
        ("{a: {from: 0.1, to: 0.3, step: 0.1}}", [0.1, 0.2, 0.3]),
        ("{a: {from: 1, to: 2, step: 0.5}}", [1.0, 1.5, 2.0]),
        ("{a: {from: 0, to: 1, count: 3}}", [0.0, 0.5, 1.0]),
        ("{a: {from: 1, to: 100, count: 3, scale: log}}", [1, 10, 100]),
        ("{a: &x [1, 2], b: 3}", [1, 2]),
    ],
)
def test_values_of_a_parameter(params: str, values: list[Value]) -> None:
    found = [run["a"] for run in runs(params)]
    assert repr(found) == repr(values)


def test_zip_goes_in_step_at_its_place() -> None:
    assert runs("{a: 1, zip: {b: [1, 2], c: {from: 3, to: 4}}, d: 5}") == [
        {"a": 1, "b": 1, "c": 3, "d": 5},
        {"a": 1, "b": 2, "c": 4, "d": 5},
    ]


def test_several_zips_are_combined() -> None:
    made = runs("{zip: [{a: [1, 2], b: [1, 2]}, {c: [x, y], d: [x, y]}]}")
    assert [(run["a"], run["c"]) for run in made] == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]


def test_list_of_mappings_is_several_grids() -> None:
    made = runs("[{kind: a, depth: [1, 2]}, {kind: b}]")
    assert made == [{"kind": "a", "depth": 1}, {"kind": "a", "depth": 2}, {"kind": "b"}]


def test_anchors_and_merges_are_resolved_own_keys_first() -> None:
    spec = read(
        """\
        stages:
          a: {command: x, request: &big {cpus: 8, mem: 4G}}
          b: {command: y, request: {<<: *big, cpus: 2}}
          c: {command: z, request: {<<: [{cpus: 1}, *big]}}
        """
    )
    assert [stage.request.cpus for stage in spec.stages] == [8, 2, 1]
    assert [stage.request.mem_mb for stage in spec.stages] == [4096] * 3


# --- what is refused, and where: line, column, key, and words of the complaint and of the hint

WRONG: list[tuple[str, int, int, str, str, str]] = [
    # the file
    ("", 0, 0, "", "empty", "command"),
    ("# nothing", 0, 0, "", "empty", "command"),
    ("- a", 1, 1, "", "this is a list, and a mapping", ""),
    ("command: a\n---\ncommand: b", 2, 1, "", "another document", "one file is one spec"),
    ("command: a\nenv:\n\tA: b", 3, 1, "", "not YAML", "replace the tab"),
    ("command: [a", 1, 12, "", "not YAML", "look at this line"),
    ("command: a: b", 1, 11, "", "mapping values are not allowed", "quote"),
    ("command: *x", 1, 10, "", "undefined alias 'x'", "begins with *"),
    ("command: @x", 1, 10, "", "cannot start any token", "quoted"),
    ("%YAML 1.1\n---\ncommand: a", 1, 1, "", "YAML 1.2", "remove the line"),
    ("command: a\ncommand: b", 2, 1, "command", "stands here twice", "keep one"),
    ("command: a\nparm: 1", 2, 1, "parm", "unknown key 'parm'", "did you mean params?"),
    ("command: a\nqqq: 1", 2, 1, "qqq", "unknown key 'qqq'", "known: experiment, tags"),
    ("command: a\n? [x]\n: 1", 1, 1, "", "a key is a text", "quote"),
    ("command: a\ntags: {1: x}", 2, 8, "tags.1", "a key is a text", 'quote it: "1"'),
    ("command: a\ntags: {a b: x}", 2, 8, "tags.a b", "'a b' is not a name", ""),
    ("command: a\ntags: {a: [x]}", 2, 11, "tags.a", "this is a list", ""),
    ("experiment: a/b\ncommand: a", 1, 13, "experiment", "'a/b' is not a name", ""),
    ("experiment: ..\ncommand: a", 1, 13, "experiment", "'..' is not a name", ""),
    ("experiment: -x\ncommand: a", 1, 13, "experiment", "'-x' is not a name", ""),
    # stages
    ("tags: {}", 1, 1, "", "there is no command", "command: ["),
    ("stages: {}", 1, 9, "stages", "no stage", ""),
    ("stages: {a: {}}", 1, 13, "stages.a", "there is no command", ""),
    ("stages: {a: {command: x, parms: 1}}", 1, 26, "stages.a.parms", "unknown key", "params"),
    ("stages: {a b: {command: x}}", 1, 10, "stages.a b", "'a b' is not a name", ""),
    ("command: a\nstages: {}", 1, 1, "command", "stands beside `stages`", "move it"),
    ("command: a\nrepeat: 0", 2, 9, "repeat", "0 is not between 1", ""),
    ("command: a\nrepeat: yes", 2, 9, "repeat", "a whole number is asked for", ""),
    ("command: a\nrepeat: true", 2, 9, "repeat", "a whole number is asked for", ""),
    ("command: a\nmax_parallel: 1.5", 2, 15, "max_parallel", "a whole number", ""),
    # command
    ("command: []", 1, 10, "command", "list is empty", ""),
    ("command: ''", 1, 10, "command", "command is empty", "python"),
    ("command: [~]", 1, 11, "command[0]", "this is nothing", ""),
    ("command: [a, {lr}]", 1, 14, "command[1]", "this is a mapping", 'placeholder, "{name}"'),
    ("command: a 'b", 1, 10, "command", "No closing quotation", "quote"),
    ("command: a | b", 1, 10, "command", "| is for a shell", "[sh, -c, '…']"),
    ("command: a > b", 1, 10, "command", "> is for a shell", "[sh, -c"),
    ("command: a < b", 1, 10, "command", "< is for a shell", "[sh, -c"),
    ("command: a && b", 1, 10, "command", "& is for a shell", "[sh, -c"),
    ("command: a ; b", 1, 10, "command", "; is for a shell", "[sh, -c"),
    ("command: a $HOME", 1, 10, "command", "$HOME is for a shell", "[sh, -c"),
    ('command: a "$HOME"', 1, 10, "command", "$HOME is for a shell", "[sh, -c"),
    ('command: a "`b`"', 1, 10, "command", "` is for a shell", "[sh, -c"),
    ("command: a $(b)", 1, 10, "command", "$( is for a shell", "[sh, -c"),
    ("command: a `b`", 1, 10, "command", "` is for a shell", "[sh, -c"),
    ("command: a *.txt", 1, 10, "command", "* is for a shell", "Quote"),
    ("command: a ~/b", 1, 10, "command", "~ is for a shell", "Quote"),
    ("command: |\n  a b\n  c", 1, 10, "command", "several lines", "one program"),
    ("command: cd x", 1, 10, "command", "`cd` is a word of the shell", "bash"),
    ("command: [module, load, x]", 1, 11, "command[0]", "`module` is a word of the shell", "bash"),
    ("command: A=1 b", 1, 10, "command", "A=1 is a variable", "env:"),
    ("command: [a, '{b']", 1, 14, "command[1]", "a single '{'", "doubled"),
    ("command: [a, '{b}']", 1, 14, "command[1]", "unknown parameter in a command: b", "none"),
    ("command: a {lr}\nparams: {lrr: 1}", 1, 10, "command", "command: lr", "did you mean lrr?"),
    ("command: a {b}\nparams: [{b: 1}, {c: 1}]", 1, 10, "command", "grid 2 does not have it", ""),
    ("command: a --{params}", 1, 10, "command", "more than a word", "alone"),
    ("command: [sh, -c, 'a ${B}']", 1, 19, "command[2]", "parameter in a command: B", "${{B}}"),
    ("command: [sh, -c, '{a}']\nparams: {a: 1}", 1, 19, "command[2]", "by the shell", '"$PENSTOCK_PARAM_A"'),
    ("command: [/bin/bash, -lc, '{a}']\nparams: {a: 1}", 1, 27, "command[2]", "by the shell", "$"),
    ("command: [srun, bash, -euxc, '{a}']\nparams: {a: 1}", 1, 30, "command[3]", "shell", "$"),
    ("command: [bash, -o, pipefail, -c, '{a}']\nparams: {a: 1}", 1, 35, "command[4]", "shell", "$"),
    ("command: [bash, -c, -o, pipefail, '{a}']\nparams: {a: 1}", 1, 35, "command[4]", "shell", "$"),
    ("command: sh -c 'a {a}'\nparams: {a: 1}", 1, 10, "command", "by the shell", "$PENSTOCK_PARAM_A"),
    ("command: [sh, -c, '{params}']", 1, 19, "command[2]", "cannot be a script", '"$@"'),
    # values
    ("command: a\nparams: []", 2, 9, "params", "list is empty", ""),
    ("command: a\nparams: {a: []}", 2, 13, "params.a", "list is empty", ""),
    ("command: a\nparams: {a: }", 2, 12, "params.a", "there is no value", "null"),
    ("command: a\nparams: {a: [1, 2, 1]}", 2, 20, "params.a[2]", "comes twice: a=1", "repeat"),
    ("command: a\nparams: {a: 007}", 2, 13, "params.a", "would not arrive", "'007'"),
    ("command: a\nparams: {a: 1_000}", 2, 13, "params.a", "would not arrive", "quote"),
    ("command: a\nparams: {a: 2020-01-01}", 2, 13, "params.a", "this is a date", "quote"),
    ("command: a\nparams: {a: .inf}", 2, 13, "params.a", "no number that a record", "quote"),
    ("command: a\nparams: {a: -.INF}", 2, 13, "params.a", "no number that a record", "quote"),
    ("command: a\nparams: {a: .nan}", 2, 13, "params.a", "no number that a record", "quote"),
    ("command: a\nparams: {a: 1e999}", 2, 13, "params.a", "larger than a number", ""),
    ("command: a\nparams: {a: !!set {x, y}}", 2, 13, "params.a", "of a type (set)", ""),
    ("command: a\nparams: {a: !!str [x]}", 2, 13, "params.a", "that a parameter cannot be", ""),
    ("command: a\nparams: {a: !!python/name:os.system x}", 2, 13, "params.a", "of a type", ""),
    ("command: a\nparams: {a: !!binary aGk=}", 2, 13, "params.a", "of a type (binary)", ""),
    ('command: a\nparams: {a: "\\0"}', 2, 13, "params.a", "NUL", ""),
    ('command: a\nparams: {a: "\\ud800"}', 2, 13, "params.a", "half a character", ""),
    ('command: a\nparams: {a: {value: {"\\ud800": 1}}}', 2, 21, "params.a.value", "half a", ""),
    ("command: a\nparams: {a: {b: 1}}", 2, 13, "params.a", "a mapping, and no range", "{value: {…}}"),
    ("command: a\nparams: {a: {value: 1, b: 2}}", 2, 13, "params.a", "stands alone", ""),
    # names
    ("command: a\nparams: {a b: 1}", 2, 10, "params.a b", "no name for a parameter", "letters"),
    ("command: a\nparams: {1a: 1}", 2, 10, "params.1a", "no name for a parameter", "letters"),
    ("command: a\nparams: {params: 1}", 2, 10, "params.params", "no name", "another name"),
    ("command: a\nparams: {zip: {zip: [1]}}", 2, 16, "params.zip.zip", "no name", "another"),
    ("command: a\nparams: {a: 1, zip: {a: 1}}", 2, 22, "params.zip.a", "named twice", "rename"),
    ("command: a\nparams: {repeat: 1}\nrepeat: 2", 2, 10, "params.repeat", "of this name", "rename"),
    ("command: a\nparams: {a-b: 1, a_b: 1}", 2, 9, "params", "share the variable PENSTOCK_PARAM_A_B", ""),
    ("command: a\nparams: {api_key: x}", 2, 10, "params.api_key", "looks like a secret", "chmod 600"),
    # zips, ranges, sizes
    ("command: a\nparams: {zip: {}}", 2, 15, "params.zip", "no parameters", ""),
    ("command: a\nparams: {zip: {a: [1, 2], b: [1]}}", 2, 30, "params.zip.b", "b has 1 values, and a has 2", ""),
    ("command: a\nparams: {zip: {a: [1, 1], b: [2, 2]}}", 2, 23, "params.zip.a[1]", "a=1 b=2", ""),
    ("command: a\nparams: {a: {from: 1}}", 2, 13, "params.a", "no `to`", "included"),
    ("command: a\nparams: {a: {fro: 1, to: 2}}", 2, 14, "params.a.fro", "unknown key", "from?"),
    ("command: a\nparams: {a: {from: x, to: 2}}", 2, 20, "params.a.from", "a number is asked for", ""),
    ("command: a\nparams: {a: {from: 0.5, to: 2}}", 2, 13, "params.a", "no `step`", "count"),
    ("command: a\nparams: {a: {from: 2, to: 0}}", 2, 13, "params.a", "is empty", "step: -1"),
    ("command: a\nparams: {a: {from: 0, to: 2, step: 0}}", 2, 36, "params.a.step", "nowhere", ""),
    ("command: a\nparams: {a: {from: 0, to: 1, step: 1, count: 2}}", 2, 30, "params.a.step", "both", ""),
    ("command: a\nparams: {a: {from: 0, to: 1, scale: log}}", 2, 30, "params.a.scale", "goes with `count`", ""),
    ("command: a\nparams: {a: {from: 0, to: 1, count: 3, scale: log}}", 2, 20, "params.a.from", "no logarithm", ""),
    ("command: a\nparams: {a: {from: 0, to: 1, count: 3, scale: lin}}", 2, 47, "params.a.scale", "linear or log", ""),
    ("command: a\nparams: {a: {from: 0, to: 1, count: 1}}", 2, 37, "params.a.count", "between 2", ""),
    ("command: a\nparams: {a: [{from: 0, to: 1}]}", 2, 14, "params.a[0]", "stands alone", ""),
    ("command: a\nparams: {a: {from: 0, to: 1e300, step: 1}}", 2, 13, "params.a", "at most 1,000,000", ""),
    ("command: a\nparams: {a: {from: 1e-300000, to: 1, step: 1}}", 2, 20, "params.a.from", "too small", ""),
    ("command: a\nparams: {a: {from: 1, to: 2000}, b: {from: 1, to: 501}}", 2, 9, "params", "1,002,000 runs", ""),
    ("command: a\nparams: [{a: [1, 2]}, {a: [2, 3]}]", 2, 23, "params[1]", "is here too: a=2", ""),
    # request
    ("command: a\nrequest: {cpu: 1}", 2, 11, "request.cpu", "unknown key", "cpus?"),
    ("command: a\nrequest: {cpus: 0}", 2, 17, "request.cpus", "not between 1", ""),
    ("command: a\nrequest: {gpus: -1}", 2, 17, "request.gpus", "not between 0", ""),
    ("command: a\nrequest: {mem: 4}", 2, 16, "request.mem", "4 has no unit", "500M, 4G"),
    ("command: a\nrequest: {mem: 4X}", 2, 16, "request.mem", "not an amount of memory", "4G"),
    ("command: a\nrequest: {time: 90}", 2, 17, "request.time", "90 has no unit", "30m"),
    ("command: a\nrequest: {time: 1:90}", 2, 17, "request.time", "not below 60", ""),
    ("command: a\nrequest: {partition: 'a b'}", 2, 22, "request.partition", "a name that Slurm", ""),
    ("command: a\nrequest: {account: --x}", 2, 20, "request.account", "a name that Slurm", ""),
    ("command: a\nrequest: {options: x}", 2, 20, "request.options", "a list is asked for", ""),
    ("command: a\nrequest: {options: [x]}", 2, 21, "request.options[0]", "not an option", "--name=value"),
    ("command: a\nrequest: {options: [--mail-type ALL]}", 2, 21, "request.options[0]", "not an option", ""),
    ("command: a\nrequest: {options: [-C x]}", 2, 21, "request.options[0]", "short option", "--constraint="),
    ("command: a\nrequest: {options: [--arr=1]}", 2, 21, "request.options[0]", "not for a spec", "takes it for --array"),
    ("command: a\nrequest: {options: [\"--comment=a\\nb\"]}", 2, 21, "request.options[0]", "one line", ""),
    ("command: a\nrequest: {options: [--signal=USR1@9]}", 2, 21, "request.options[0]", "would not reach", "B:USR1"),
    ("command: a\nrequest: {gpus: 1, options: [--gres=gpu:2]}", 2, 29, "request.options", "both ask", ""),
    # env, outputs, code, metrics
    ("command: a\nenv: {A-B: x}", 2, 7, "env.A-B", "no name for a variable", ""),
    ("command: a\nenv: {PENSTOCK_X: x}", 2, 7, "env.PENSTOCK_X", "belongs to Penstock or Slurm", ""),
    ("command: a\nenv: {SLURM_X: x}", 2, 7, "env.SLURM_X", "belongs to Penstock or Slurm", ""),
    ("command: a\nenv: {A: }", 2, 9, "env.A", "no value", '""'),
    ("command: a\nenv: {A: '{b}'}\nparams: {b: 1}", 2, 10, "env.A", "{b} stays as it is", "$PENSTOCK_PARAM_B"),
    ("command: a\nenv: {apptainer: }", 2, 17, "env.apptainer", "this is nothing", ""),
    ("command: a\nenv: {apptainer: [a.sif]}", 2, 18, "env.apptainer", "this is a list", ""),
    ("command: a\nenv: {apptainer: ''}", 2, 18, "env.apptainer", "not the path of an image", ".sif"),
    ("command: a\nenv: {apptainer: 'docker://x'}", 2, 18, "env.apptainer", "not the path of an image", "apptainer pull image.sif docker://x"),
    ("command: a\nenv: {apptainer: ~/x.sif}", 2, 18, "env.apptainer", "~ stands for nothing", "absolute"),
    ("command: a\nenv: {apptainer: '{b}.sif'}\nparams: {b: 1}", 2, 18, "env.apptainer", "{b} stays as it is", ""),
    ("command: a\nenv: {U: 'https://me:pw@host/x'}", 2, 16, "", "URL with a password", "file"),
    ("command: a\noutputs: []", 2, 10, "outputs", "list is empty", ""),
    ("command: a\noutputs: [/x]", 2, 11, "outputs[0]", "outside the folder", "relative"),
    ("command: a\noutputs: ~/x", 2, 10, "outputs", "outside the folder", "relative"),
    ("command: a\noutputs: [a/../../x]", 2, 11, "outputs[0]", "leaves the folder", ".."),
    ("command: a\noutputs: ./", 2, 10, "outputs", "the whole folder", ""),
    ('command: a\noutputs: ["a\\nb"]', 2, 11, "outputs[0]", "not a path", ""),
    ("command: a\noutputs: 'm-{b}'\nparams: {b: 1}", 2, 10, "outputs", "not put into outputs", "glob"),
    ("command: a\ncode: [../x]", 2, 8, "code[0]", "leaves the folder", ""),
    ("command: a\nmetrics: out", 2, 10, "metrics", "stdout", ""),
    ("command: a\nmetrics: {}", 2, 10, "metrics", "nothing is said", "stdout"),
    ("command: a\nmetrics: {stdout: '(x'}", 2, 19, "metrics.stdout", "no regular expression", "groups"),
    ("command: a\nmetrics: {stdout: 'x'}", 2, 19, "metrics.stdout", "names no metric", "(?P<name>"),
    ("command: a\nmetrics: {stdout: '(?P<name>x)'}", 2, 19, "metrics.stdout", "names no metric", ""),
    ("command: a\nmetrics: {stdout: '(?P<step>x)'}", 2, 19, "metrics.stdout", "names no metric", ""),
]  # fmt: skip


@pytest.mark.parametrize("text,line,column,key,what,hint", WRONG)
def test_mistake_is_refused_with_its_place_and_a_way_out(
    text: str, line: int, column: int, key: str, what: str, hint: str
) -> None:
    error = refused(text)
    assert (error.file, error.line, error.column, error.key) == ("digits.yaml", line, column, key)
    assert what in error.what
    assert hint in error.hint


@pytest.mark.parametrize("option", OWNED)
def test_option_that_is_penstocks_is_refused_with_its_reason(option: str) -> None:
    for text in (f"--{option}", f"--{option}=1"):
        error = refused(f"command: a\nrequest: {{options: ['{text}']}}")
        assert error.hint == OWNED[option]


# Of sbatch(1), 22.05: those that a spec may use must not be taken for shortened owned ones.
FREE = [
    "acctg-freq", "batch", "bb", "bbf", "begin", "comment", "constraint", "container",
    "contiguous", "core-spec", "cpu-freq", "cpus-per-gpu", "deadline", "delay-boot",
    "distribution", "exclude", "exclusive", "gpu-bind", "gpus-per-node", "gres", "gres-flags",
    "hint", "hold", "licenses", "mail-type", "mail-user", "mem-bind", "mem-per-cpu",
    "mem-per-gpu", "mincpus", "network", "nice", "nodefile", "nodelist", "nodes", "no-kill",
    "ntasks", "ntasks-per-node", "overcommit", "oversubscribe", "power", "prefer", "priority",
    "profile", "propagate", "reboot", "reservation", "sockets-per-node", "spread-job", "switches",
    "thread-spec", "time-min", "tmp", "use-min-nodes", "wait-all-nodes", "wckey",
]  # fmt: skip


@pytest.mark.parametrize("option", FREE)
def test_option_of_sbatch_is_passed_on(option: str) -> None:
    spec = read(f"command: a\nrequest: {{options: ['--{option}=x y']}}")
    assert spec.stages[0].request.options == (f"--{option}=x y",)


@pytest.mark.parametrize("value", ["B:USR1@120", "B:TERM", "B:SIGUSR2@60"])
def test_signal_that_reaches_the_runner_is_allowed(value: str) -> None:
    assert read(f"command: a\nrequest: {{options: ['--signal={value}']}}").stages


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "DB_PASSWORD",
     "MY_SECRET", "PGPASSWORD_PASSWD", "token", "GOOGLE_CREDENTIALS", "SSH_PRIVATE_KEY", "APIKEY"],
)  # fmt: skip
def test_variable_that_looks_like_a_secret_is_refused_and_not_repeated(name: str) -> None:
    error = refused(f"command: a\nenv: {{{name}: hunter2}}")
    assert "looks like a secret" in error.what
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    "name",
    ["TOKENIZERS_PARALLELISM", "MAX_TOKENS", "HF_TOKEN_PATH", "KEYBOARD", "SECRETARY", "API_URL",
     "PASSWORD_FILE", "MONKEY"],
)  # fmt: skip
def test_variable_that_is_no_secret_is_taken(name: str) -> None:
    assert read(f"command: a\nenv: {{{name}: x}}").stages[0].env == ((name, "x"),)


def test_password_in_a_url_is_not_repeated() -> None:
    assert "hunter2" not in str(refused("command: [x, 'postgresql://me:hunter2@host/db']"))


def test_file_that_cannot_name_an_experiment_must_have_one() -> None:
    with pytest.raises(SpecError, match="'my sweep'") as error:
        read("command: x", file="dir/my sweep.yaml")
    assert error.value.hint == "say `experiment: name`"


def test_error_is_written_as_file_line_column_key_and_hint() -> None:
    assert str(refused("command: a\nparm: 1")) == (
        "digits.yaml:2:1: parm: unknown key 'parm'\n  did you mean params?"
    )


def test_text_that_is_too_long_for_a_program_is_refused() -> None:
    error = refused(f"command: a\nparams: {{a: {'x' * 100_001}}}")
    assert "too long to be given to a program" in error.what


# --- what would take for ever


def test_spec_that_contains_itself_is_refused() -> None:
    error = refused("command: a\nparams: {a: &x {value: [*x]}}")
    assert "contains itself" in error.what
    assert len(error.key) < 200
    assert "contains itself" in refused("command: a\nrequest: &x {<<: *x}").what


def test_aliases_of_aliases_are_refused_before_they_fill_the_memory() -> None:
    lines = ["command: a", "params:", "  a0: &a0 {value: [x, x, x, x, x, x, x, x, x, x]}"]
    lines += [f"  a{n}: &a{n} {{value: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    assert "more than 1,000,000 values" in refused("\n".join(lines)).what


def test_brackets_without_end_are_refused() -> None:
    assert "nested too deeply" in refused("command: " + "[" * 5000).what


@given(st.text(st.sampled_from("ab:{}[],-&*!|>'\"#%@`~<? \n\t019.e_$/\\é\0"), max_size=40))
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_text_is_a_spec_or_a_spec_error(text: str) -> None:
    for whole in (text, f"command: {text}", f"command: x\nparams: {{a: {text}}}"):
        try:
            load(whole, file="x.yaml", folder="/p")
        except SpecError as error:
            assert re.match(r"x\.yaml:", str(error))  # noqa: PT017  most texts are none


JUNK: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["from", "to", "step", "count", "value", "zip", "cpus", "mem", "stdout", "a"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["command", "params", "repeat", "request", "env", "outputs", "metrics", "tags", "code"]
        ),
        JUNK,
    )
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_values_are_a_spec_or_a_spec_error(values: dict[str, Any]) -> None:
    import json

    try:
        spec = load(json.dumps({"command": "x", **values}), file="x.yaml", folder="/p")
    except SpecError:
        return
    assert sum(1 for _ in sweep.expand(spec.stages[0].sweep)) == sweep.size(spec.stages[0].sweep)


def test_million_runs_is_not_too_many() -> None:
    params = "{a: {from: 1, to: 1000}, b: {from: 1, to: 1000}}"
    (stage,) = read(f"command: x {{a}}\nparams: {params}").stages
    assert sweep.size(stage.sweep) == 1_000_000


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0{}"), max_size=8), min_size=1
    )
)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_words_quoted_for_a_shell_come_back(words: list[str]) -> None:
    import json
    import shlex

    text = shlex.join(["x", *words])
    spec = load("command: " + json.dumps(text), file="x.yaml", folder="/p")
    assert spec.stages[0].command == ("x", *words)
