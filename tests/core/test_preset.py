"""Presets: each bad input by itself, overrides, saving, and the shipped gallery."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from workbench.core.data import data_folder
from workbench.core.errors import BadInputError
from workbench.core.precision import KvPrecision, Precision, kv_supported, supported
from workbench.core.preset import (
    MAX_PRESET_BYTES,
    Preset,
    apply_overrides,
    find_preset,
    gallery_folders,
    list_presets,
    load_preset,
    parse_preset,
    preset_from_data,
    preset_to_toml,
    save_preset,
)
from workbench.core.preset_check import key_lines, known_keys, shown_argv, wanted
from workbench.core.preset_schema import SCHEMA_VERSION, Migration, migrate

GOOD = """# a comment
schema = 1
title = "T"
goal = "try-it"
toolchain = "openvino"

[precision]
weights = "int4"   # why
group_size = 64

[limits]
max_batch_size = 4
"""


def refused(text: str, name: str = "presets/x.toml") -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        parse_preset(text, name)
    assert caught.value.exit_code == 2
    assert caught.value.what.startswith(name), caught.value.what
    return caught.value


def with_line(line: str, after: str = "[precision]") -> str:
    assert after in GOOD
    return GOOD.replace(after, f"{after}\n{line}", 1)


def test_a_good_preset():
    preset = parse_preset(GOOD, "x.toml", preset_id="x")
    assert preset.id == "x"
    assert preset.precision.weights is Precision.INT4
    assert preset.precision.kv_cache is KvPrecision.AUTO
    assert preset.precision.group_size == 64
    assert preset.limits.max_batch_size == 4
    assert preset.limits.max_seq_len is None
    assert preset.model.trust_remote_code is False
    assert preset.gpus == 1


# --- bad input, one by one ---


@pytest.mark.parametrize(
    ("text", "line", "key", "nearest"),
    [
        (with_line('wieghts = "int8"'), 8, "precision.wieghts", "precision.weights"),
        (with_line("max_batch_sise = 3", "[limits]"), 12, "limits.max_batch_sise", "limits.max_batch_size"),
        (with_line("kv_cache_gib = 1.0"), 8, "precision.kv_cache_gib", "runtime.kv_cache_gib"),
        (with_line("max_seq_len = 4", 'title = "T"'), 4, "max_seq_len", "limits.max_seq_len"),
        (with_line("[verfy]\nenabled = false\n[verify]", "max_batch_size = 4"), 13, "verfy", "verify"),
        (with_line("Weights = 1"), 8, "precision.Weights", "precision.weights"),
        (with_line("zzzzqqqq = 1"), 8, "precision.zzzzqqqq", None),
    ],
)
def test_unknown_keys_are_refused_with_line_and_nearest(text, line, key, nearest):
    error = refused(text)
    kind = "table" if key == "verfy" else "key"
    proposal = f" Nearest: {nearest}" if nearest else ""
    assert error.what == f"presets/x.toml, line {line}: {key} is not a preset {kind}.{proposal}"
    assert error.failure.code == "bad-preset"


BATCH = "max_batch_size = 4"
WHOLE = "but must be a whole number from 1 to 8192."
TITLE, GROUP, WEIGHTS = 'title = "T"', "group_size = 64", 'weights = "int4"'


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        (BATCH, 'max_batch_size = "4"', 12, f'limits.max_batch_size is "4" (text), {WHOLE}'),
        (BATCH, "max_batch_size = 4.0", 12, f"limits.max_batch_size is 4.0, {WHOLE}"),
        (BATCH, "max_batch_size = true", 12, f"limits.max_batch_size is true, {WHOLE}"),
        (BATCH, "max_batch_size = 0", 12, f"limits.max_batch_size is 0, {WHOLE}"),
        (BATCH, f"max_batch_size = {'9' * 40}", 12, f"is a number of more than 18 digits, {WHOLE}"),
        (BATCH, "max_batch_size = [4]", 12, f"limits.max_batch_size is a list, {WHOLE}"),
        (WEIGHTS, "weights = 4", 8, 'precision.weights is 4, but must be one of "fp32", "bf16"'),
        (WEIGHTS, 'weights = "int44"', 8, "Nearest: int4"),
        (WEIGHTS, 'weights = "w4a16"', 8, "Nearest: int4"),
        ('goal = "try-it"', 'goal = "fast"', 4, 'goal is "fast" (text), but must be one of "try-it"'),
        ('toolchain = "openvino"', 'toolchain = "trtllm"', 5, "Nearest: tensorrt_llm"),
        (GROUP, "group_size = 48", 9, 'group_size is 48, but must be one of "auto", -1, 16, 32'),
        (GROUP, "ratio = 1.5", 9, "precision.ratio is 1.5, but must be a number from 0 to 1."),
        (GROUP, "ratio = nan", 9, "precision.ratio is nan, but must be a number from 0 to 1."),
        (GROUP, "data_aware = 1", 9, "precision.data_aware is 1, but must be true or false."),
        (GROUP, "symmetric = 1", 9, 'precision.symmetric is 1, but must be "auto" or true or false.'),
        (TITLE, 'title = ""', 3, 'title is "" (text), but must be text'),
        (TITLE, "title = 2026-01-01", 3, "title is 2026-01-01, but must be text"),
        (TITLE, 'title = "T"\ngpu = "H201"', 4, "gpu: 'H201' is not a GPU of the catalogue. Nearest: H200."),
        (TITLE, 'title = "T"\nlimits = 3', 12, "not TOML"),
        (f"[limits]\n{BATCH}", f"[[limits]]\n{BATCH}", 11, "limits is a list, but must be a table."),
        ("[limits]", "[build]\nflags = 3\n[limits]", 12, "build.flags is 3, but must be a table."),
        (
            "[limits]",
            "[build.flags]\nx = 2026-01-01\n[limits]",
            12,
            "build.flags.x is 2026-01-01, but must be",
        ),
        ("[limits]", "[build.flags]\nx = [1, 'a']\n[limits]", 12, "build.flags.x is a list, but must be"),
        ("[limits]", "[verify]\nprompts = []\n[limits]", 12, "a list of text, not empty."),
        ("[limits]", "[verify]\nprompts = [\n  'a',\n  3,\n]\n[limits]", 12, "verify.prompts"),
    ],
)
def test_wrong_values_are_refused_with_line_and_what_is_wanted(old, new, line, said):
    assert old in GOOD
    what = refused(GOOD.replace(old, new, 1)).what
    assert what.startswith(f"presets/x.toml, line {line}: ")
    assert said in what


@pytest.mark.parametrize("key", ["title", "goal", "toolchain", "weights"])
def test_a_missing_key_is_named(key):
    error = refused(re.sub(rf"(?m)^{key} = .*\n", "", GOOD))
    assert f"{key} is missing" in error.what


def test_a_missing_table_is_named():
    assert "[precision] is missing" in refused(GOOD.split("[precision]", 1)[0]).what


def test_several_problems_are_all_told():
    text = GOOD.replace("group_size = 64", "grop_size = 64").replace("max_batch_size = 4", 'max_batch_size = "4"')
    error = refused(text)
    assert "precision.grop_size" in error.what
    assert "line 12: limits.max_batch_size" in error.evidence


@pytest.mark.parametrize(
    ("lines", "line", "said"),
    [
        (
            ["[runtime]", "kv_cache_gib = 1.0", "kv_fraction = 0.5"],
            15,
            "runtime.kv_cache_gib and runtime.kv_fraction",
        ),
        (
            ["[runtime]", "kv_blocks = 10", "kv_fraction = 0.5"],
            14,
            "runtime.kv_fraction and runtime.kv_blocks",
        ),
        (
            ["max_input_len = 9", "max_seq_len = 8"],
            13,
            "limits.max_input_len (9) is above limits.max_seq_len (8)",
        ),
    ],
)
def test_settings_that_contradict_each_other(lines, line, said):
    error = refused(GOOD + "\n".join(lines))
    assert error.what.startswith(f"presets/x.toml, line {line}: ")
    assert said in error.what


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (
            "schema = 2",
            f"this preset has schema 2, and this Engine Workbench knows schemas up to {SCHEMA_VERSION}.",
        ),
        ("schema = 0", "schema 0 is not a schema"),
        ("schema = -1", "schema -1 is not a schema"),
        ('schema = "1"', 'schema is "1", but must be a whole number.'),
        ("schema = true", "schema is true, but must be a whole number."),
        ("", "schema is missing"),
    ],
)
def test_schema_versions(schema, said):
    assert said in refused(GOOD.replace("schema = 1", schema, 1)).what


def test_migrations_run_in_order_and_leave_their_input_alone():
    steps = (
        Migration("rename-a", 1, lambda data: {"b": data.pop("a")}),
        Migration("double-b", 2, lambda data: {"b": data["b"] * 2}),
    )
    old = {"a": [1]}
    assert migrate(old, 1, steps, 3) == {"b": [1, 1]}
    assert migrate({"b": 2}, 2, steps, 3) == {"b": 4}
    assert migrate({"b": 2}, 3, steps, 3) == {"b": 2}
    assert old == {"a": [1]}
    with pytest.raises(BadInputError, match="newer Engine Workbench"):
        migrate({}, 4, steps, 3)
    with pytest.raises(BadInputError, match="not a schema"):
        migrate({}, 0, steps, 3)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("schema = 1\ntitle = \n", 2),
        ("schema = 1\n[precision\n", 2),
        ("schema = 1\nweights = int8\n", 2),
        ("schema = 1\nschema = 1\n", 2),
        ('title = """never closed\n\n', 2),
        ("a = " + "[" * 5000, None),
        ("a = 1\x00", 1),
        ("x = " + "9" * 5000, None),
    ],
)
def test_what_is_not_toml(text, line):
    error = refused(text)
    if line:
        assert error.what.startswith(f"presets/x.toml, line {line}: not TOML")


def test_secrets_in_an_argv_are_not_shown():
    argv = ("docker", "run", "-e", "HF_TOKEN=hf_abcdefghij", "--env=MY_API_KEY=a=b==", "-e", "HF_TOKEN", "IMAGE",
            "sk-abcdefghijk", "TOKENIZERS_PARALLELISM=false", "PYTHONPATH=/srv/tokens", "python3")  # fmt: skip
    shown = shown_argv(argv)
    assert shown[3] == "HF_TOKEN=(not shown)" and shown[4] == "--env=MY_API_KEY=(not shown)"
    assert shown[5:8] == ("-e", "HF_TOKEN", "IMAGE") and shown[8] == "(not shown)"
    assert shown[9:] == argv[9:]


def test_secrets_are_not_repeated():
    for text in [
        GOOD.replace('title = "T"', 'hf_token = "hf_abcdefgh12345"'),
        GOOD.replace('title = "T"', "hf_token = hf_abcdefgh12345"),
        GOOD.replace('weights = "int4"', 'weights = "hf_abcdefgh12345"'),
        GOOD + '\n[build.flags]\napi_key = 2026-01-01\npassword = [["swordfish"]]',
    ]:
        said = str(refused(text))
        assert "abcdefgh12345" not in said
        assert "swordfish" not in said


def test_messages_hold_no_control_characters_and_stay_short():
    error = refused(with_line(f'"\\u001b[2J{"k" * 3000}" = 1'))
    assert "\x1b" not in str(error)
    assert len(str(error)) < 600


# --- files ---


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BadInputError, match="There is no preset file"):
        load_preset(tmp_path / "no.toml")


def test_a_folder(tmp_path):
    with pytest.raises(BadInputError, match="is a folder"):
        load_preset(tmp_path)


def test_a_pipe_is_refused_and_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(BadInputError, match="not an ordinary file"):
        load_preset(tmp_path / "pipe.toml")


def test_a_device_is_refused():
    with pytest.raises(BadInputError, match="not an ordinary file"):
        load_preset(Path("/dev/zero"))


def test_a_huge_file(tmp_path):
    path = tmp_path / "big.toml"
    path.write_bytes(b"#" * (MAX_PRESET_BYTES + 1))
    with pytest.raises(BadInputError, match="larger than 256 KiB"):
        load_preset(path)


def test_not_utf8_names_the_line(tmp_path):
    path = tmp_path / "latin.toml"
    path.write_bytes(b'schema = 1\ntitle = "caf\xe9"\n')
    with pytest.raises(BadInputError, match=r"latin\.toml, line 2: not UTF-8"):
        load_preset(path)


def test_a_byte_order_mark_is_fine(tmp_path):
    path = tmp_path / "bom.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_preset(path).id == "bom"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file(tmp_path):
    path = tmp_path / "locked.toml"
    path.write_text(GOOD)
    path.chmod(0)
    with pytest.raises(BadInputError, match="cannot be read: Permission denied"):
        load_preset(path)


@pytest.mark.parametrize("name", ["a\x00b", "x" * 5000])
def test_names_that_no_file_can_have(name):
    with pytest.raises(BadInputError):
        find_preset(name)
    with pytest.raises(BadInputError):
        find_preset(name + ".toml")


# --- finding ---


def test_find_by_id_path_and_nearest(tmp_path):
    (tmp_path / "mine.v1.toml").write_text(GOOD)
    assert find_preset("mine.v1", [tmp_path]).id == "mine.v1"
    assert find_preset(str(tmp_path / "mine.v1.toml")).source == tmp_path / "mine.v1.toml"
    with pytest.raises(BadInputError, match=r'no preset "mime\.v1"\. Nearest: mine\.v1'):
        find_preset("mime.v1", [tmp_path])
    with pytest.raises(BadInputError, match="Nearest: cpu-int8"):
        find_preset("cpu_int8")
    with pytest.raises(BadInputError, match="There is no preset"):
        find_preset("", [tmp_path / "nowhere"])


def test_broken_files_stand_beside_the_good_ones(tmp_path):
    (tmp_path / "good.toml").write_text(GOOD)
    (tmp_path / "bad.toml").write_text("schema = 1\nrubbish")
    (tmp_path / "note.txt").write_text("not a preset")
    (tmp_path / ".hidden.toml").write_text("rubbish")
    (tmp_path / "folder.toml").mkdir()
    found = list_presets([tmp_path, tmp_path / "nowhere"])
    assert [preset.id for preset in found.presets] == ["good"]
    assert [broken.path.name for broken in found.broken] == ["bad.toml", "folder.toml"]
    assert "line 2" in found.broken[0].failure.what


def test_the_first_folder_with_an_id_wins(tmp_path):
    for name, title in (("one", "First"), ("two", "Second")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "p.toml").write_text(GOOD.replace('"T"', f'"{title}"'))
    folders = [tmp_path / "one", tmp_path / "two"]
    assert [preset.title for preset in list_presets(folders).presets] == ["First"]
    assert find_preset("p", folders).title == "First"


# --- the gallery ---


def test_every_shipped_preset_loads_and_is_supported():
    found = list_presets()
    assert found.broken == ()
    assert {"demo", "cpu-fp16", "cpu-int8", "cpu-int4", "cpu-int4-awq"} <= {preset.id for preset in found.presets}
    for preset in found.presets:
        assert preset.description
        assert preset.unused_settings == ()
        if preset.toolchain == "openvino":
            assert supported(preset.precision.weights, "openvino").ok
            assert kv_supported(preset.precision.kv_cache, "openvino").ok
            assert preset.gpus == 1


def test_shipped_folders():
    (folder,) = gallery_folders()
    assert (folder / "demo.toml").is_file()
    assert data_folder("resources").name == "resources"


def test_the_demo_says_what_it_says():
    demo = find_preset("demo")
    assert (demo.goal, demo.toolchain, demo.precision.weights) == ("try-it", "openvino", Precision.INT8)
    assert not demo.needs_calibration
    assert find_preset("cpu-int4-awq").needs_calibration


# --- overrides ---


@pytest.mark.parametrize(
    ("item", "read"),
    [
        ("precision.weights=int8", lambda p: p.precision.weights is Precision.INT8),
        ('precision.weights = "int8"', lambda p: p.precision.weights is Precision.INT8),
        ("precision.group_size=128", lambda p: p.precision.group_size == 128),
        ("precision.group_size=auto", lambda p: p.precision.group_size == "auto"),
        ("precision.symmetric=false", lambda p: p.precision.symmetric is False),
        ("precision.ratio=1", lambda p: p.precision.ratio == 1.0),
        ("limits.max_seq_len=2048", lambda p: p.limits.max_seq_len == 2048),
        ("limits.max_seq_len=2_048", lambda p: p.limits.max_seq_len == 2048),
        ("model.revision=1.0", lambda p: p.model.revision == "1.0"),
        ("model.revision=main", lambda p: p.model.revision == "main"),
        ("title=A = B", lambda p: p.title == "A = B"),
        ("title=7", lambda p: p.title == "7"),
        ("gpu=h100", lambda p: p.gpu == "H100 SXM"),
        ('verify.prompts=["a", "b"]', lambda p: p.verify.prompts == ["a", "b"]),
        ("build.flags.gemm_plugin=auto", lambda p: p.build.flags == {"gemm_plugin": "auto"}),
        ("build.flags.max_beam_width=4", lambda p: p.build.flags == {"max_beam_width": 4}),
        ("build.flags.--a.b=true", lambda p: p.build.flags == {"--a.b": True}),
    ],
)
def test_overrides(item, read):
    before = parse_preset(GOOD, "x.toml", preset_id="x")
    after = apply_overrides(before, [item])
    assert read(after)
    assert after.id == "x"
    assert not read(before) or item == "precision.ratio=1"


def test_overrides_build_on_each_other_and_none_clears():
    preset = parse_preset(GOOD + "\n[runtime]\nkv_cache_gib = 1.0", "x.toml")
    for order in (1, -1):
        items = ["runtime.kv_cache_gib=none", "runtime.kv_fraction=0.5"][::order]
        assert apply_overrides(preset, items).runtime.kv_fraction == 0.5
    assert apply_overrides(preset, ["title=a", "title=b"]).title == "b"
    assert apply_overrides(preset, []).to_data() == preset.to_data()


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("precision.wieghts=int4", "precision.wieghts is not a preset key. Nearest: precision.weights"),
        ("weights=int4", "Nearest: precision.weights"),
        ("precision.weights=int7", 'precision.weights is "int7" (text), but must be one of'),
        ("limits.max_batch_size=many", 'limits.max_batch_size is "many" (text), but must be a whole number'),
        ('limits.max_batch_size="3"', 'is "3" (text), but must be a whole number'),
        ("limits.max_batch_size=none", "must be a whole number"),
        ("precision.data_aware=yes", 'is "yes" (text), but must be true or false'),
        ("precision.symmetric=yes", 'is "yes" (text), but must be "auto" or true or false'),
        ("gpu=H201", "Nearest: H200"),
        ("precision=int4", "precision is a table"),
        ("build.flags=3", "build.flags is a table"),
        ("build.flags.x={a=1}", None),
        ("schema=2", "cannot be set"),
        ("precision.weights", "not key=value"),
        ("=3", "not key=value"),
        ("precision..weights=int4", "not key=value"),
        ("", "not key=value"),
        ("runtime.kv_fraction=0.5", "runtime.kv_cache_gib and runtime.kv_fraction"),
    ],
)
def test_bad_overrides(item, said):
    preset = parse_preset(GOOD + "\n[runtime]\nkv_cache_gib = 1.0", "x.toml")
    if said is None:
        assert apply_overrides(preset, [item]).build.flags == {"x": "{a=1}"}
        return
    with pytest.raises(BadInputError) as caught:
        apply_overrides(preset, [item])
    assert said in caught.value.what


def test_a_calibration_file_is_found_from_where_it_was_named(tmp_path, monkeypatch):
    path = tmp_path / "p.toml"
    path.write_text(GOOD + '\n[calibration]\nfile = "text.jsonl"')
    preset = load_preset(path)
    assert preset.calibration_path == tmp_path / "text.jsonl"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert apply_overrides(preset, ["calibration.file=t.txt"]).calibration_path == tmp_path / "here" / "t.txt"
    assert apply_overrides(preset, ["calibration.file=none"]).calibration_path is None


# --- what a preset means ---


def test_settings_that_do_nothing_are_told_and_change_nothing():
    preset = parse_preset(GOOD + "\n[calibration]\nsamples = 8", "x.toml")
    awq = apply_overrides(preset, ["precision.method=awq", "precision.data_aware=true"])
    assert awq.needs_calibration and awq.unused_settings == ()
    as_int8 = apply_overrides(awq, ["precision.weights=int8"])
    assert set(as_int8.unused_settings) == {
        "precision.group_size",
        "precision.method",
        "precision.data_aware",
    }
    assert not as_int8.needs_calibration
    plain = apply_overrides(preset, ["precision.weights=int8", "precision.group_size=auto"])
    assert as_int8.effective_precision == plain.effective_precision


def test_calibration_is_needed_by_toolchain_and_precision():
    trt = apply_overrides(parse_preset(GOOD, "x"), ["toolchain=tensorrt_llm"])
    needs = {p for p in Precision if apply_overrides(trt, [f"precision.weights={p}"]).needs_calibration}
    assert needs == {Precision(p) for p in ("fp8", "int8_sq", "int4_awq", "w4a8_awq", "nvfp4")}
    assert apply_overrides(trt, ["precision.weights=fp16", "precision.kv_cache=fp8"]).needs_calibration


def test_verify_limits_come_from_the_precision_unless_set():
    preset = parse_preset(GOOD, "x.toml")
    assert preset.verify_limits.min_agreement == Precision.INT4.default_min_agreement
    own = apply_overrides(preset, ["verify.min_agreement=0", "verify.max_kl=0.5"])
    assert (own.verify_limits.min_agreement, own.verify_limits.max_kl) == (0.0, 0.5)


def test_presets_cannot_be_changed_in_place():
    preset = parse_preset(GOOD, "x.toml")
    with pytest.raises(ValidationError):
        preset.title = "other"
    with pytest.raises(ValidationError):
        preset.limits.max_batch_size = 3


# --- saving ---


def test_saving_and_loading_gives_the_same_preset(tmp_path):
    for preset in list_presets().presets:
        saved = save_preset(preset, tmp_path / f"{preset.id}.toml")
        loaded = load_preset(tmp_path / f"{preset.id}.toml")
        assert loaded == saved
        assert loaded.to_data() == preset.to_data()
        assert preset_from_data(preset.to_data()).to_data() == preset.to_data()


def test_saving_over_a_file_keeps_its_comments_and_says_no_more_than_needed(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text(GOOD)
    preset = apply_overrides(load_preset(path), ["precision.weights=int8", "runtime.kv_cache_gib=2"])
    save_preset(preset, path)
    text = path.read_text()
    assert text == GOOD.replace('"int4"', '"int8"') + "\n[runtime]\nkv_cache_gib = 2.0\n"
    assert load_preset(path).to_data() == preset.to_data()
    save_preset(load_preset(path), path)
    assert path.read_text() == text


def test_saving_removes_what_was_cleared(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text(GOOD + "max_seq_len = 100 # short\n[build.flags]\na = 1\nb = [1, 2]\n")
    preset = apply_overrides(load_preset(path), ["limits.max_seq_len=none", "build.flags.a=2"])
    save_preset(preset, path)
    assert "max_seq_len" not in path.read_text()
    assert load_preset(path).build.flags == {"a": 2, "b": [1, 2]}


HEAD = 'schema = 1\ntitle = "T"\ngoal = "try-it"\ntoolchain = "openvino"\n'


@pytest.mark.parametrize(
    "text",
    [
        HEAD + 'precision = {weights = "int4"} # one\n',
        HEAD + 'precision.weights = "int4"\n',
        GOOD.replace("max_batch_size = 4", "max_batch_size = 16"),
    ],
)
def test_saving_over_other_ways_of_writing_it(tmp_path, text):
    path = tmp_path / "x.toml"
    path.write_text(text)
    changed = apply_overrides(
        load_preset(path), ["precision.weights=int8", "precision.ratio=0.5", "limits.max_seq_len=9"]
    )
    save_preset(changed, path)
    assert load_preset(path).to_data() == changed.to_data()


@pytest.mark.parametrize("name", ["x.txt", ".toml", "a b.toml", "-x.toml", "x" * 120 + ".toml"])
def test_saving_under_a_name_that_is_no_id(tmp_path, name):
    with pytest.raises(BadInputError, match="not a name for a preset"):
        save_preset(parse_preset(GOOD, "x"), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_saving_into_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(BadInputError, match="cannot be written: No such file"):
        save_preset(parse_preset(GOOD, "x"), tmp_path / "no" / "x.toml")


def test_saving_onto_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text(GOOD)
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from workbench.core.errors import BadInputError\n"
        "from workbench.core.preset import apply_overrides, load_preset, save_preset\n"
        "preset = apply_overrides(load_preset(Path(sys.argv[1])), ['title=other'])\n"
        "preset_again = save_preset(preset, Path(sys.argv[1]).with_name('warm.toml'))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "try:\n"
        "    save_preset(preset, Path(sys.argv[1]))\n"
        "except BadInputError as error:\n"
        "    print(error.what)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "cannot be written: File too large" in done.stdout
    assert path.read_text() == GOOD
    assert sorted(file.name for file in tmp_path.iterdir()) == ["warm.toml", "x.toml"]


def test_saving_does_not_overwrite_what_is_not_a_preset(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text("not toml at all")
    with pytest.raises(BadInputError, match="not TOML"):
        save_preset(parse_preset(GOOD, "x"), path)
    assert path.read_text() == "not toml at all"


def test_saving_follows_links_and_keeps_ordinary_permissions(tmp_path):
    (tmp_path / "real.toml").write_text(GOOD)
    (tmp_path / "link.toml").symlink_to(tmp_path / "real.toml")
    save_preset(apply_overrides(load_preset(tmp_path / "link.toml"), ["title=new"]), tmp_path / "link.toml")
    assert (tmp_path / "link.toml").is_symlink()
    assert load_preset(tmp_path / "real.toml").title == "new"
    save_preset(parse_preset(GOOD, "x"), tmp_path / "fresh.toml")
    (tmp_path / "plain").touch()
    assert stat.S_IMODE((tmp_path / "fresh.toml").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


# --- the schema as forms and messages need it ---


def _tables() -> list[type[BaseModel]]:
    inner = [field.annotation for field in Preset.model_fields.values()]
    return [Preset, *(kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel))]


def test_every_field_has_title_help_unit_and_words_for_what_it_takes():
    assert len(_tables()) == 10
    for table in _tables():
        for name, field in table.model_fields.items():
            assert field.title and field.description, f"{table.__name__}.{name}"
            assert isinstance(field.json_schema_extra, dict) and "unit" in field.json_schema_extra
    for key, is_table in known_keys().items():
        if not is_table and key != ("schema",):
            assert wanted(key), key


def test_numbers_have_limits():
    for table in _tables():
        for name, node in table.model_json_schema()["properties"].items():
            for part in node.get("anyOf", [node]):
                if part.get("type") in ("integer", "number"):
                    assert "maximum" in part and ("minimum" in part or "exclusiveMinimum" in part), name


def test_optional_fields_default_to_none_so_that_leaving_them_out_says_it():
    for table in _tables():
        for name, node in table.model_json_schema()["properties"].items():
            if any(part.get("type") == "null" for part in node.get("anyOf", [])):
                assert table.model_fields[name].default is None, name


def test_lines_are_found_past_strings_arrays_and_comments():
    text = "\n".join(
        [
            "a = 1",  # 1
            's = """',
            "b = 2",
            '"""',
            "list = [",  # 5
            '  "c = 3", # ]',
            "]",
            "# d = 4",
            "[t.'u v']  # here",
            'e."f" = "#" # x',  # 10
            "[[arr]]",
            "g = '''x''' # y",
            "h = {i = 1}",
        ]
    )
    assert key_lines(text) == {
        ("a",): 1,
        ("s",): 2,
        ("list",): 5,
        ("t", "u v"): 9,
        ("t", "u v", "e", "f"): 10,
        ("arr",): 11,
        ("arr", "g"): 12,
        ("arr", "h"): 13,
    }


def test_importing_presets_brings_nothing_heavy():
    code = "import sys, workbench.core.preset as p\nprint({'torch', 'tomlkit', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- anything at all ---

_KEYS = st.sampled_from([".".join(key) for key in known_keys()])
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["int4", "auto", "awq", "openvino", "try-it", "H100"]),
    st.lists(st.one_of(st.integers(), st.text(max_size=3)), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_fuzz_any_text(text):
    with pytest.raises(BadInputError):
        parse_preset(text, "x.toml")


@given(
    st.lists(st.tuples(st.sampled_from(GOOD.splitlines()), st.text(max_size=12)), max_size=4),
    st.integers(0, 9),
)
@settings(max_examples=200, deadline=None)
def test_fuzz_near_misses(edits, cut):
    text = GOOD
    for line, put in edits:
        text = text.replace(line, line[:cut] + put + line[cut:], 1)
    try:
        parse_preset(text, "x.toml")
    except BadInputError as error:
        assert str(error)


@given(st.dictionaries(_KEYS, _VALUES, max_size=4))
@settings(max_examples=300, deadline=None)
def test_fuzz_data(extra):
    data = parse_preset(GOOD, "x").to_data()
    for key, value in extra.items():
        *tables, last = key.split(".")
        at = data
        for table in tables:
            if not isinstance(at.get(table), dict):
                at[table] = {}
            at = at[table]
        at[last] = value
    try:
        preset = preset_from_data(data)
    except BadInputError as error:
        assert all(letter.isprintable() for letter in str(error))
    else:
        assert preset_from_data(preset.to_data()).to_data() == preset.to_data()
        assert parse_preset(preset_to_toml(preset), "x").to_data() == preset.to_data()
        assert parse_preset(preset_to_toml(preset, GOOD), "x").to_data() == preset.to_data()


@given(st.lists(st.one_of(st.text(max_size=20), st.tuples(_KEYS, st.text(max_size=10)).map("=".join)), max_size=3))
@settings(max_examples=200, deadline=None)
def test_fuzz_overrides(items):
    preset = parse_preset(GOOD, "x")
    try:
        apply_overrides(preset, items)
    except BadInputError as error:
        assert str(error).isprintable()
