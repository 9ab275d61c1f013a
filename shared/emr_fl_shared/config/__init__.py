"""Settings: one TOML file, frozen, unknown keys refused, every problem reported at once."""

from emr_fl_shared.config.loading import load_settings, parse_assignments, settings_from, write_settings
from emr_fl_shared.config.settings import Settings, SiteSettings

__all__ = [
    "Settings",
    "SiteSettings",
    "load_settings",
    "parse_assignments",
    "settings_from",
    "write_settings",
]
