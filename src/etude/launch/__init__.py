"""Files that start `etude train` or `etude compare` under a launcher on other machines; nothing is started here."""

from etude.launch.job_files import LAUNCHERS, JobSettings, write_job_file
