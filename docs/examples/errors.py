"""All errors of a task file at once."""

import sys

import etude

try:
    etude.load_task(sys.argv[1] + ".missing")
except etude.errors.InputError as error:
    for fault in error.faults:
        print(fault.where, fault.what, fault.remedy)
