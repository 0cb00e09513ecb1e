"""Long work in child processes, one after another, that survives a kill of the server or the child."""

from etude.jobs.job import Job, JobQueue, State

__all__ = ["Job", "JobQueue", "State"]
