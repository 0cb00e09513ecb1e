"""All errors of a task file at once."""

import sys

import etude

try:
    etude.load_task(sys.argv[1] + ".missing")
except etude.errors.InputError as error:
    for fault in error.issues:
        print(fault.location, fault.message, fault.remedy)
