"""The settings of the program: `load_settings` says what holds, `save_setting` changes a user's own.

Declared in settings_schema, read from one file in settings_layers, put together in settings_load.
"""

from workbench.core.settings_layers import (
    GIT_PREFIXES,
    SITE_FOLDER,
    SITE_VARIABLE,
    expand_folder,
    nearest_setting,
    site_folder,
    user_name,
)
from workbench.core.settings_load import (
    DEFAULT,
    SETTINGS_FILE,
    LoadedSettings,
    is_locked,
    is_offline,
    load_settings,
    lock_of,
    refuse_offline,
    shown_setting,
    site_home,
)
from workbench.core.settings_save import check_setting, parse_setting, save_setting
from workbench.core.settings_schema import (
    TOOLCHAIN_NAMES,
    Folders,
    Network,
    Serving,
    SettingField,
    Settings,
    ToolchainSettings,
    WindowSettings,
    setting_fields,
    setting_tables,
    value_at,
)

__all__ = [
    "DEFAULT",
    "GIT_PREFIXES",
    "SETTINGS_FILE",
    "SITE_FOLDER",
    "SITE_VARIABLE",
    "TOOLCHAIN_NAMES",
    "Folders",
    "LoadedSettings",
    "Network",
    "Serving",
    "SettingField",
    "Settings",
    "ToolchainSettings",
    "WindowSettings",
    "check_setting",
    "expand_folder",
    "is_locked",
    "is_offline",
    "load_settings",
    "lock_of",
    "nearest_setting",
    "parse_setting",
    "refuse_offline",
    "save_setting",
    "setting_fields",
    "setting_tables",
    "shown_setting",
    "site_folder",
    "site_home",
    "user_name",
    "value_at",
]
