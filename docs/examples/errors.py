"""All errors of a task file at once."""

import sys

import etude

try:
    etude.load_task(sys.argv[1] + ".missing")
except etude.errors.InputError as error:
    for issue in error.issues:
        print(issue.location, issue.message, issue.remedy)
