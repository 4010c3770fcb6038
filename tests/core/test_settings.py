"""Settings in layers: which one holds, what is locked, what is said of a bad file, and what saving keeps."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from workbench.core.errors import BadInputError, BlockedError
from workbench.core.home import HOME_VARIABLE, Home
from workbench.core.home_choice import home_from
from workbench.core.settings import (
    DEFAULT,
    SETTINGS_FILE,
    SITE_VARIABLE,
    Settings,
    is_locked,
    is_offline,
    load_settings,
    lock_of,
    parse_setting,
    refuse_offline,
    save_setting,
    setting_fields,
    shown_setting,
    value_at,
)
from workbench.core.settings_layers import read_layer


class Lab:
    """A site and a user's home."""

    def __init__(self, folder: Path) -> None:
        self.site = folder / "site"
        self.site.mkdir()
        self.home = Home(folder / "user").make()
        self.environ = {SITE_VARIABLE: str(self.site)}

    def file(self, name: str, text: str) -> str:
        path = self.site / name
        path.write_text(text)
        return str(path)

    def own(self, text: str) -> Path:
        path = self.home.root / SETTINGS_FILE
        path.write_text(text)
        return path

    def load(self):  # type: ignore[no-untyped-def]
        return load_settings(self.home, self.environ)

    def save(self, key: str, value: object):  # type: ignore[no-untyped-def]
        return save_setting(self.home, self.environ, key, value)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_without_files_all_is_as_shipped(lab: Lab) -> None:
    loaded = lab.load()
    assert loaded.values == Settings() and not loaded.problems and not loaded.locked
    assert set(loaded.origins) == set(setting_fields()) and set(loaded.origins.values()) == {DEFAULT}
    assert loaded.values.folders.toolchains == ("/opt/engine-workbench-toolchains",)


def test_every_setting_has_words_and_a_default_that_it_takes(lab: Lab) -> None:
    for key, field in setting_fields().items():
        assert field.title and field.text.endswith("."), key
        assert value_at(Settings(), key) == field.default, key
        if not field.site_only:
            lab.save(key, field.default)
    assert lab.load().values == Settings(toolchains=lab.load().values.toolchains) and not lab.load().problems


def test_later_layers_win_and_lists_of_folders_add_up(lab: Lab) -> None:
    first = lab.file("10-a.toml", '[window]\ntheme = "dark"\n[folders]\nmodels = ["/a", "/b"]\n')
    second = lab.file("20-b.toml", '[folders]\nmodels = ["/b", "/c"]\n[network]\nextra_package_indexes = ["x"]\n')
    own = lab.own('[window]\ntheme = "light"\n[folders]\nmodels = ["/d"]\n[network]\nextra_package_indexes = ["y"]\n')
    loaded = lab.load()
    assert loaded.values.window.theme == "light" and loaded.origins["window.theme"] == str(own)
    assert loaded.values.folders.models == ("/a", "/b", "/c", "/d")
    assert loaded.entries["folders.models"] == (("/a", first), ("/b", first), ("/c", second), ("/d", str(own)))
    assert loaded.values.network.extra_package_indexes == ("y",), "other lists are taken whole"
    assert lab.save("folders.toolchains", ("/t",)).values.folders.toolchains == (*Settings().folders.toolchains, "/t")
    assert not loaded.problems


def test_what_the_site_locks_no_user_changes(lab: Lab) -> None:
    lock = lab.file("10.toml", 'locked = ["network.offline", "folders"]\n[network]\noffline = true\n')
    lab.own('[network]\noffline = false\nwheels = "/w"\n[folders]\nmodels = ["/mine"]\n')
    loaded = lab.load()
    assert loaded.values.network.offline and loaded.values.folders.models == ()
    assert loaded.values.network.wheels == "/w", "what is not locked counts"
    assert is_locked(loaded, "folders.presets") and lock_of(loaded, "folders.models") == lock
    assert not is_locked(loaded, "network.wheels")
    assert [problem.code for problem in loaded.problems] == ["locked", "locked"]
    assert all(lock in problem.evidence for problem in loaded.problems)
    with pytest.raises(BlockedError) as refused:
        lab.save("network.offline", False)
    assert refused.value.failure.code == "locked" and lock in refused.value.evidence
    assert "settings unset network.offline" in loaded.problems[0].fix
    lab.save("network.offline", None)
    assert [problem.what for problem in lab.load().problems if "network.offline" in problem.what] == []
    lab.save("network.wheels", "/other")
    assert lab.load().values.network.wheels == "/other"


def test_a_lock_without_a_value_holds_the_shipped_one(lab: Lab) -> None:
    lab.file("a.toml", 'locked = ["window.theme"]\n')
    lab.own('[window]\ntheme = "dark"\n')
    assert lab.load().values.window.theme == "system"


@pytest.mark.parametrize(
    "broken",
    [
        "locked = [",
        "[network]\noffline = 'yes'\n",
        "schema = 9\n",
        "[network]\nofline = false\n",
        "\x00",
        "locked = 7\n",
    ],
)
def test_a_broken_site_file_unlocks_nothing_that_others_lock(lab: Lab, broken: str) -> None:
    lab.file("20-good.toml", 'locked = ["network.offline"]\n[network]\noffline = true\n')
    lab.own("[network]\noffline = false\n")
    for name in ("10-bad.toml", "30-bad.toml"):
        path = lab.file(name, broken)
        loaded = lab.load()
        assert loaded.values.network.offline and is_locked(loaded, "network.offline")
        assert any(path in problem.what for problem in loaded.problems)
        with pytest.raises(BlockedError):
            lab.save("network.offline", False)


def test_a_locked_value_that_is_wrong_is_still_locked(lab: Lab) -> None:
    lab.file("a.toml", 'locked = ["serving.allow_network"]\n[serving]\nallow_network = "no"\n')
    loaded = lab.load()
    assert is_locked(loaded, "serving.allow_network") and len(loaded.problems) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[folders]\nmodel = ['/x']\n", ("line 2", "folders.model ", "Nearest: folders.models")),
        ("[window]\n\ntheme = 'drak'\n", ("line 3", '"drak"', "Nearest: dark")),
        ("[windw]\ntheme = 'dark'\n", ("line 1", "windw", "Nearest: window")),
        ("window = 3\n", ("line 1", "must be a table")),
        ("[folders]\nmodels = '/x'\n", ("line 2", "a list of texts")),
        ("[folders]\nmodels = ['x/y']\n", ("line 2", '"x/y" is not a full path')),
        ("[folders]\nmodels = ['git+https://h/x']\n", ("not a full path",)),
        ("[network]\noffline = 1\n", ("line 2", "true or false")),
        ("[network]\nextra_package_indexes = 'https://a:hid@den@lab/x'\n", ('is "https://…@lab/x", but',)),
        ("[folders]\nhome = '/x'\n", ("whole site alone",)),
        ("locked = ['folders']\n", ("line 1", "site's settings alone")),
        ("[toolchains.openvno]\npython = '/x'\n", ("openvno", "Nearest: toolchains.openvino")),
        ("[network\n", ("not TOML",)),
        ("schema = 'x'\n", ("schema",)),
    ],
)
def test_what_is_wrong_is_said_and_the_rest_counts(lab: Lab, text: str, words: tuple[str, ...]) -> None:
    path = lab.own(text)
    (problem,) = lab.load().problems
    said = " ".join(problem.lines())
    assert str(path) in said and all(word in said for word in words), said
    if "[network\n" not in text and "schema" not in text:
        path.write_text("[serving]\nallow_network = false\n" + text if text[0] == "[" else text)
        assert len(lab.load().problems) == 1
        assert not lab.load().values.serving.allow_network or text[0] != "["


def test_a_wrong_lock_names_the_nearest(lab: Lab) -> None:
    lab.file("a.toml", 'locked = ["foldrs", "network.ofline", 3]\n')
    said = [problem.what for problem in lab.load().problems]
    assert "Nearest: folders" in said[0] and "Nearest: network.offline" in said[1] and len(said) == 3


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_files_that_cannot_be_read_are_said(lab: Lab) -> None:
    path = Path(lab.file("a.toml", ""))
    path.chmod(0)
    assert "Permission denied" in lab.load().problems[0].what
    path.chmod(0o600)
    lab.site.chmod(0)
    try:
        assert "cannot be listed" in lab.load().problems[0].what
    finally:
        lab.site.chmod(0o700)


def test_odd_files_never_hang_or_raise(lab: Lab) -> None:
    os.mkfifo(lab.site / "a.toml")
    (lab.site / "b.toml").mkdir()
    (lab.site / "c.toml").symlink_to("c.toml")
    (lab.site / "d.toml").write_bytes(b"# \xff\n")
    (lab.site / "e.toml").write_bytes(b"#" * 300_000)
    (lab.site / "f.toml").write_text("x = " + "[" * 5000)
    (lab.site / "notes.txt").write_text("not TOML")
    (lab.site / ".hidden.toml").write_text("not TOML")
    assert len(lab.load().problems) == 6 and lab.load().values == Settings()


def test_reading_again_costs_a_look_and_sees_every_change(lab: Lab) -> None:
    first = lab.load()
    assert lab.load() is first
    lab.file("a.toml", "[network]\noffline = true\n")
    assert lab.load().values.network.offline
    lab.own('[window]\ntheme = "dark"\n')
    assert lab.load().values.window.theme == "dark"
    (lab.site / "a.toml").unlink()
    assert not lab.load().values.network.offline


def test_saving_keeps_comments_and_is_private(lab: Lab) -> None:
    path = lab.own('# mine\nschema = 1\n\n[window]\ntheme = "dark"  # at night\n')
    lab.save("folders.models", ("/m", "/n"))
    loaded = lab.save("window.theme", "light")
    text = path.read_text()
    assert "# mine" in text and 'theme = "light" # at night' in text.replace("  #", " #")
    assert loaded.values.folders.models == ("/m", "/n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert lab.save("window.theme", None).origins["window.theme"] == DEFAULT
    assert lab.save("toolchains.openvino.prefix", ["podman", "exec", "x"]).values.toolchains["openvino"].prefix == (
        "podman", "exec", "x",
    )  # fmt: skip
    assert not lab.load().problems and not [entry for entry in lab.home.root.iterdir() if entry.name.endswith(".new")]
    assert lab.save("toolchains.pytorch.python", None).values.toolchains.get("pytorch") is None


def test_saving_writes_through_a_link(lab: Lab, tmp_path: Path) -> None:
    kept = tmp_path / "dotfiles.toml"
    kept.write_text("# kept elsewhere\n")
    (lab.home.root / SETTINGS_FILE).symlink_to(kept)
    lab.save("window.theme", "dark")
    assert (lab.home.root / SETTINGS_FILE).is_symlink() and "# kept elsewhere" in kept.read_text()
    assert lab.load().values.window.theme == "dark"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("window.thme", "dark", "Nearest: window.theme"),
        ("window", "dark", "window.theme"),
        ("window.theme", "blue", "must be one of"),
        ("folders.home", "/x", "whole site alone"),
        ("folders.models", ["x"], "not a full path"),
        ("network.offline", "true", "true or false"),
        ("toolchains.vllm.python", "/x", "no setting"),
    ],
)
def test_a_change_that_cannot_be_is_refused_and_writes_nothing(lab: Lab, key: str, value: object, words: str) -> None:
    with pytest.raises(BadInputError) as refused:
        lab.save(key, value)
    assert words in str(refused.value)
    assert not (lab.home.root / SETTINGS_FILE).exists()


def test_files_of_newer_programs_and_broken_ones_are_left_alone(lab: Lab) -> None:
    for text, code in (("schema = 2\nnew = 1\n", "newer-settings"), ("[window\n", "bad-settings")):
        path = lab.own(text)
        with pytest.raises((BlockedError, BadInputError)) as refused:
            lab.save("window.theme", "dark")
        assert refused.value.failure.code == code and path.read_text() == text


def test_an_older_schema_is_read_by_its_migration(tmp_path: Path) -> None:
    def renamed(data: dict[str, object]) -> dict[str, object]:
        return {"window": {"theme": data.pop("look")}, **data}

    path = tmp_path / SETTINGS_FILE
    path.write_text('schema = 1\nlook = "dark"\n')
    layer = read_layer(path, is_site=False, migrations={1: renamed})
    assert layer.values == {"window.theme": "dark"} and not layer.problems and layer.schema == 1
    assert read_layer(path, is_site=False).problems, "without it the old key is unknown"


def test_savers_at_the_same_time_leave_a_whole_file(lab: Lab) -> None:
    themes = ("dark", "light", "system")
    threads = [threading.Thread(target=lab.save, args=("window.theme", themes[n % 3])) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lab.load().values.window.theme in themes and not lab.load().problems


def test_savers_of_different_settings_lose_nothing(lab: Lab) -> None:
    keys = [key for key, field in setting_fields().items() if field.kind == "folders"] * 2
    keys += [f"toolchains.{name}.prefix" for name in ("openvino", "pytorch", "tensorrt_llm", "modelopt")]
    threads = [threading.Thread(target=lab.save, args=(key, ["/x"])) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(lab.load().own[key] == ("/x",) for key in keys)


@pytest.mark.parametrize(
    "text", ['window.theme = "dark"\n', 'window = {theme = "dark"}\n', '[window]\ntheme = "dark"\n[window.x]\n']
)
def test_a_file_is_changed_however_it_is_written(lab: Lab, text: str) -> None:
    lab.own(text)
    lab.save("window.theme", "light")
    lab.save("network.wheels", "/w")
    assert lab.load().values.window.theme == "light" and lab.load().values.network.wheels == "/w"
    assert not [one for one in lab.load().problems if "window.x" not in one.what]


@pytest.mark.parametrize("text", ["window = 3\n", "[[window]]\ntheme = 'dark'\n"])
def test_a_file_that_is_too_odd_is_left_and_said_so(lab: Lab, text: str) -> None:
    path = lab.own(text)
    with pytest.raises(BadInputError, match="by hand"):
        lab.save("window.theme", "light")
    assert path.read_text() == text


def test_the_site_says_where_a_users_state_is(lab: Lab, tmp_path: Path) -> None:
    import pwd

    me = pwd.getpwuid(os.getuid()).pw_name
    lab.file("a.toml", f'[folders]\nhome = "{tmp_path}/homes/{{user}}/wb"\n')
    assert home_from(lab.environ).root == tmp_path / "homes" / me / "wb"
    assert home_from({**lab.environ, HOME_VARIABLE: "/else"}).root == Path("/else")
    assert home_from({**lab.environ, "USER": "somebody", "LOGNAME": "somebody"}).root == tmp_path / "homes" / me / "wb"
    lab.file("b.toml", '[folders]\nhome = "~/wb"\n')
    assert home_from(lab.environ).root == Path("~/wb").expanduser()


def test_offline_is_refused_with_the_file_that_says_so(lab: Lab) -> None:
    refuse_offline(lab.home, "No.", "Do.", lab.environ)
    path = lab.file("a.toml", "[network]\noffline = true\n")
    assert is_offline(lab.home, lab.environ)
    with pytest.raises(BlockedError) as refused:
        refuse_offline(lab.home, "No.", "Do.", lab.environ)
    assert path in refused.value.evidence and refused.value.failure.code == "offline"


def test_values_as_they_are_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fields = setting_fields()
    assert parse_setting(fields["network.offline"], ["On"]) is True
    assert parse_setting(fields["folders.models"], ["models", "/x", "~/y", "/x"]) == (f"{tmp_path}/models", "/x", "~/y")
    assert parse_setting(fields["folders.presets"], ["git+https://h/x"]) == ("git+https://h/x",)
    assert parse_setting(fields["network.wheels"], ["wheels"]) == f"{tmp_path}/wheels"
    assert parse_setting(fields["network.package_index"], ["https://h/simple"]) == "https://h/simple"
    for key, words in (("network.offline", ["maybe"]), ("window.theme", ["dark", "light"])):
        with pytest.raises(BadInputError):
            parse_setting(fields[key], words)


def test_passwords_of_addresses_are_not_shown() -> None:
    shown = shown_setting(["https://anna:secret@h/simple", "https://h/simple"])
    assert "secret" not in shown and "https://…@h/simple" in shown
