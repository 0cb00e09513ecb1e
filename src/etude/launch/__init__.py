"""Files that start `etude train` or `etude compare` under a launcher on other machines; nothing is started here."""

from etude.launch.job_files import LAUNCHERS, JobSettings, Launcher, write_job_file

__all__ = ["LAUNCHERS", "JobSettings", "Launcher", "write_job_file"]
