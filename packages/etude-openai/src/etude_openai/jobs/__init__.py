"""Long jobs in child processes, one after another. They survive a kill of the server or of the
child.
"""

from etude_openai.jobs.job import Job, JobQueue
